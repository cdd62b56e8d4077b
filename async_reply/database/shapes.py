"""Tells a statement's shape from its values, so that the shape is compiled only once.

The shape is the names of the columns and lookups, and the expressions without their values.
"""

from collections.abc import Hashable, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Expression, ExpressionWrapper, F, Field, Func, Value
from django.db.models.expressions import CombinedExpression, DatabaseDefault

Columns = Mapping[str, Any]
NO_COLUMNS: Columns = {}
#: Types of values that are no expressions.
PLAIN = frozenset({bool, int, float, str, dict, list, UUID, datetime})
#: The attribute in which an expression keeps its shape and its values, since most are used again.
KNOWN = "_async_reply_shape"


class Placeholder(Expression):
    """The place of a value that is known when the statement is executed."""

    def __init__(self, place: int, output_field: "Field[Any, Any]") -> None:
        super().__init__(output_field=output_field)
        self.place = place

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return "%s", [self]


class Literal(Expression):
    """A constant that the SQL says itself: None, a whole number, or the empty text."""

    def __init__(self, value: int | str | None) -> None:
        super().__init__()
        self.sql = "NULL" if value is None else str(value) or "''"

    @staticmethod
    def takes(value: Any) -> bool:
        return value is None or type(value) is int or value == ""

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return self.sql, []


def of(columns: Columns, values: list[Any]) -> Hashable:
    """The shapes of all columns; a list after `__in` belongs to the shape with its values."""
    return tuple(
        [
            (name, tuple(value) if name.endswith("__in") else _shape(value, values))
            for name, value in columns.items()
        ]
    )


def _shape(value: Any, values: list[Any]) -> Any:
    """`value` without the parts that may differ the next time. These are appended to `values`.

    None belongs to the shape, since it changes the SQL.
    """
    if type(value) in PLAIN:  # nearly all values, so the other questions wait
        values.append(value)
        return Ellipsis
    if value is None:
        return None
    if not hasattr(value, "resolve_expression"):
        values.append(value)
        return Ellipsis
    if (known := getattr(value, KNOWN, None)) is None:
        parts: list[Any] = []
        known = _shape_of_expression(value, parts), parts
        setattr(value, KNOWN, known)
    shape, parts = known
    values += parts
    return shape


def _shape_of_expression(value: Any, values: list[Any]) -> Any:
    if isinstance(value, F):
        return F, value.name  # type: ignore[attr-defined]
    if isinstance(value, Value):
        values.append(value.value)
        return Value, type(value.value)
    if isinstance(value, DatabaseDefault):
        return DatabaseDefault
    if isinstance(value, CombinedExpression):
        return value.connector, _shape(value.lhs, values), _shape(value.rhs, values)
    if isinstance(value, Func | ExpressionWrapper):
        return type(value), *[_shape(part, values) for part in value.get_source_expressions()]
    raise TypeError(f"A fixed statement takes no {type(value).__name__}: see shapes.")


def with_placeholders(model: Any, columns: Columns, places: Iterator[int]) -> dict[str, Any]:
    """`columns` with a Placeholder for each value, in the order of `of`."""
    fields = {"pk": model._meta.pk, **{field.name: field for field in model._meta.concrete_fields}}
    return {
        name: (
            value
            if name.endswith("__in")
            else _with_placeholder(value, fields[name.partition("__")[0]], places)
        )
        for name, value in columns.items()
    }


def _with_placeholder(value: Any, field: Any, places: Iterator[int]) -> Any:
    if value is None or isinstance(value, F | DatabaseDefault):
        return value
    if isinstance(value, Value):
        return Placeholder(next(places), value.output_field)
    if hasattr(value, "resolve_expression"):
        parts = [_with_placeholder(part, field, places) for part in value.get_source_expressions()]
        value = value.copy()
        if parts:
            value.set_source_expressions(parts)
        return value
    return Placeholder(next(places), field)
