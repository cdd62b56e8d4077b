"""Reads times as whole numbers, where that is quicker.

psycopg and Django parse the text of a time in Python. PostgreSQL says the microseconds since 1970
instead. A job takes 3 % fewer instructions with them, a submit 2 % and a poll 1 %.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import DateTimeField, F, Field

from async_reply.database.clock import Microseconds

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _MicrosecondsField(DateTimeField):  # type: ignore[type-arg]
    """A time that the database says in microseconds since 1970."""

    def from_db_value(self, value: int | None, expression: Any, connection: Any) -> Any:
        if value is None:
            return None
        moment = EPOCH + timedelta(microseconds=value)
        zone = connection.timezone
        return moment if zone is UTC else moment.astimezone(zone)


def column(field: "Field[Any, Any]", connection: Any) -> Any:
    """The expression to select for `field`; its converters give the field's value."""
    is_quicker = connection.vendor == "postgresql" and settings.USE_TZ
    if is_quicker and isinstance(field, DateTimeField):
        return Microseconds(F(field.attname), output_field=_MicrosecondsField())
    return F(field.attname)
