"""Computes without a database what an UPDATE of `lifecycle` does to a row.

A time has one of three values, because guards distinguish no more. The database's clock shows PAST,
because `<=` is true for the present moment.
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import IntEnum
from typing import Any

from django.db.models import F
from django.db.models.expressions import CombinedExpression, ExpressionWrapper, Value
from django.db.models.functions import Coalesce, Least

from async_reply.columns import IfPositive, Sum
from async_reply.database.clock import DatabaseNow

Values = Mapping[str, Any]

LONG = timedelta(hours=1)


class Time(IntEnum):
    LONG_AGO = 0
    PAST = 1
    FUTURE = 2


def update(row: Values, guard: Values, changes: Values) -> dict[str, Any] | None:
    """The row afterwards; None when the guard does not hold."""
    unknown = changes.keys() - row.keys()
    if unknown:
        raise KeyError(f"The model has no {sorted(unknown)}: add them to it.")
    if not all(_holds(row, lookup, value) for lookup, value in guard.items()):
        return None
    return {**row, **{column: _value(row, change) for column, change in changes.items()}}


def _holds(row: Values, lookup: str, value: Any) -> bool:
    column, _, operator = lookup.partition("__")
    stored = row[column]
    if operator == "in":
        return stored in value
    wanted = _value(row, value)
    if operator == "":
        return bool(stored == wanted)
    if stored is None or wanted is None:
        return False
    return bool({"lte": stored <= wanted, "lt": stored < wanted}[operator])


def _value(row: Values, expression: Any) -> Any:
    match expression:
        case DatabaseNow():
            return Time.PAST
        case F():
            return row[expression.name]  # type: ignore[attr-defined]
        case Least():
            return _least([_value(row, source) for source in expression.get_source_expressions()])
        case Coalesce():
            values = [_value(row, source) for source in expression.get_source_expressions()]
            return next((value for value in values if value is not None), None)
        case Sum():
            return None  # seconds, which no guard reads
        case IfPositive():
            count, column, *others = expression.get_source_expressions()
            chosen = [column] if _value(row, count) > 0 else others
            return _value(row, chosen[0]) if chosen else None
        case ExpressionWrapper():
            return _value(row, expression.expression)
        case CombinedExpression():
            return _combined(row, expression)
        case Value():
            return expression.value
        case _:
            return expression


def _least(values: list[Any]) -> Any:
    if None in values:
        raise ValueError("LEAST of NULL differs between databases: guard against it.")
    return min(values)


def _combined(row: Values, expression: CombinedExpression) -> Any:
    left, right = _value(row, expression.lhs), _value(row, expression.rhs)
    if expression.connector == "*":
        return left * right
    sign = {"+": 1, "-": -1}[expression.connector]
    if isinstance(right, timedelta):
        return _shifted(left, sign * right)
    return left + sign * right


def _shifted(time: Time, by: timedelta) -> Time:
    if time is not Time.PAST:
        raise ValueError("Only the database's clock may be shifted.")
    if by > timedelta(0):
        return Time.FUTURE
    return Time.LONG_AGO if by <= -LONG else Time.PAST
