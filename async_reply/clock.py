"""The database's clock: the only one whose times are compared."""

from datetime import timedelta
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now
from django.db.models.sql.compiler import SQLCompiler


class DatabaseNow(Now):
    """The database's time in UTC; Django's own follows the session's time zone on MariaDB."""

    def as_mysql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra_context: Any
    ) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **extra_context)


def after(seconds: float | F) -> Any:
    """The database's time `seconds` from now; `F` of a column, where intervals are multiplied.

    Now itself is not computed: SQLite would write it with more digits than it compares.
    """
    if isinstance(seconds, F):
        return DatabaseNow() + ExpressionWrapper(seconds * timedelta(seconds=1), DurationField())
    return DatabaseNow() + timedelta(seconds=seconds) if seconds else DatabaseNow()
