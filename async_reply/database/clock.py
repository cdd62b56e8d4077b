"""The database's clock, for all times that are compared, and how Python reads its times."""

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigIntegerField, DurationField, ExpressionWrapper, F, Func
from django.db.models.functions import Now
from django.db.models.sql.compiler import SQLCompiler
from django.utils import timezone


class DatabaseNow(Now):
    """The database's time in UTC. Django's Now follows the session's time zone on MariaDB."""

    def as_mysql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra_context: Any
    ) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **extra_context)


@lru_cache(maxsize=256)
def after(seconds: float | F) -> Any:
    """The database's time `seconds` from now; `seconds` may be a column on PostgreSQL.

    For 0 nothing is added: SQLite would write a sum with more digits than it compares. Each job
    needs four of these expressions, and making them takes a twentieth of its time.
    """
    if isinstance(seconds, F):
        return DatabaseNow() + ExpressionWrapper(seconds * timedelta(seconds=1), DurationField())
    return DatabaseNow() + timedelta(seconds=seconds) if seconds else DatabaseNow()


class Microseconds(Func):
    """A duration as a number, or a time since 1970 (PostgreSQL).

    Other databases have a number for a duration already.
    """

    template = "%(expressions)s"

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra_context: Any
    ) -> Any:
        template = "CAST(EXTRACT(EPOCH FROM %(expressions)s) * 1000000 AS bigint)"
        return self.as_sql(compiler, connection, template=template, **extra_context)


def microseconds(difference: Any) -> Any:
    """The difference of two times as a whole number of microseconds."""
    duration = ExpressionWrapper(difference, output_field=DurationField())
    return Microseconds(duration, output_field=BigIntegerField())


def as_stored(moment: datetime) -> datetime:
    """`moment` as Django reads it back: in UTC; without USE_TZ naive, in TIME_ZONE.

    A naive `moment` is in TIME_ZONE. Raises OverflowError before year 1 and after year 9999.
    """
    zone = timezone.get_default_timezone()
    if not settings.USE_TZ:
        return timezone.make_naive(moment, zone) if timezone.is_aware(moment) else moment
    aware = moment if timezone.is_aware(moment) else timezone.make_aware(moment, zone)
    return aware.astimezone(UTC)


def seconds_until(moment: datetime) -> float:
    """Seconds until `moment` by this process's clock; below 0 if it is past.

    They are right on the day on which summer time begins, too. The difference of two naive times
    is then an hour too long.
    """
    return moment.timestamp() - time.time()
