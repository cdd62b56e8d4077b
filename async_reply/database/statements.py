"""Executes fixed statements that Django compiles once, for the arrows and for reads of one row.

Django takes about a millisecond to compile an UPDATE with a dozen expressions, and the database a
tenth of that to execute it. So the SQL is kept, by the shape of the statement: the names of its
columns and lookups, and its expressions without their values. A caller writes conditions and
changes as for `filter` and `update`; a statement of a known shape is executed with the new values.
In a worker this takes a job without work from 6.5 to 4.3 ms of processor time.

Only PostgreSQL has an UPDATE that returns its row, and one that inserts another row. Other
databases need a read or a transaction.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections, transaction
from django.db.models import Expression, ExpressionWrapper, F, Field, Func, Model, Value
from django.db.models.expressions import CombinedExpression
from django.db.models.sql import UpdateQuery

Columns = Mapping[str, Any]
#: A parameter, or the place of a value among the values of the statement and its field.
Parameter = tuple[Any, None] | tuple[int, "Field[Any, Any]"]


class Placeholder(Expression):
    """The place of a value that is known when the statement is executed."""

    def __init__(self, place: int, output_field: "Field[Any, Any]") -> None:
        super().__init__(output_field=output_field)
        self.place = place

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return "%s", [self]


@dataclass(frozen=True)
class Statement:
    """Compiled SQL, its parameters, and the fields that it selects or returns."""

    sql: str
    parameters: Sequence[Parameter]
    fields: Sequence["Field[Any, Any]"] = ()
    converters: Mapping[int, tuple[Sequence[Any], Any]] | None = None

    def bind(self, values: Sequence[Any], connection: Any) -> list[Any]:
        return [
            parameter if field is None else field.get_db_prep_save(values[parameter], connection)
            for parameter, field in self.parameters
        ]

    def to_instance(self, model: Any, row: Sequence[Any], connection: Any) -> Any:
        columns = list(row)
        for place, (functions, expression) in (self.converters or {}).items():
            for function in functions:
                columns[place] = function(columns[place], expression, connection)
        names = [field.attname for field in self.fields]
        return model.from_db(connection.alias, names, columns)


#: Statements by database, sort, model and shape. There are as many as the code has call sites.
_compiled: dict[Hashable, Statement] = {}


def are_possible(using: str) -> bool:
    """Whether an UPDATE of this database can return its row and insert another one."""
    return connections[using].vendor == "postgresql"


def update(
    model: type[Model],
    using: str,
    guard: Columns,
    changes: Columns,
    *,
    insert: Model | None = None,
) -> bool:
    """Write `changes` to the row that matches `guard`; whether there was one.

    Then `insert` is inserted too. Other databases than PostgreSQL need two statements for that:
    the caller opens a transaction.
    """
    connection = connections[using]
    statement, values = _updating(model, using, guard, changes)
    sql, parameters = statement.sql, statement.bind(values, connection)
    is_one = insert is not None and are_possible(using)
    if insert is not None and is_one:
        sql, inserted = _with_insert(sql, insert, connection)
        parameters += inserted
    with transaction.mark_for_rollback_on_error(using=using), connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        has_matched = bool(cursor.rowcount == 1)
    if insert is not None and has_matched and not is_one:
        insert.save(force_insert=True)
    return has_matched


def _with_insert(update_sql: str, row: Model, connection: Any) -> tuple[str, list[Any]]:
    """The SQL of an update that inserts `row` where it matches, and the values of the row."""
    quote = connection.ops.quote_name
    fields = row._meta.concrete_fields
    columns = ", ".join(quote(str(field.column)) for field in fields)
    sql = (
        f"WITH updated AS ({update_sql} RETURNING 1) "  # noqa: S608 columns, and parameters
        f"INSERT INTO {quote(row._meta.db_table)} ({columns}) "
        f"SELECT {', '.join(['%s'] * len(fields))} FROM updated"
    )
    return sql, [
        field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields
    ]


def update_returning(model: type[Model], using: str, guard: Columns, changes: Columns) -> Any:
    """Write `changes` to the row that matches `guard`, and return the row or None."""
    statement, values = _updating(model, using, guard, changes, is_returning=True)
    with transaction.mark_for_rollback_on_error(using=using):
        return _one(model, using, statement, values)


def read(model: Any, using: str, guard: Columns, *, defer: tuple[str, ...] = ()) -> Any:
    """The row that matches `guard`, without the fields `defer`; None if none does."""
    values: list[Any] = []
    key = ("read", using, model, defer, _shapes(guard, values))
    if (statement := _compiled.get(key)) is None:
        conditions = _with_placeholders(model, guard, iter(range(len(values))))
        rows = model.objects.using(using).filter(**conditions).defer(*defer)
        compiler = rows.query.get_compiler(using)
        sql, parameters = compiler.as_sql()
        fields = [field for field in model._meta.concrete_fields if field.name not in defer]
        statement = _compiled[key] = _statement(sql, parameters, compiler, fields)
    return _one(model, using, statement, values)


def _one(model: Any, using: str, statement: Statement, values: Sequence[Any]) -> Any:
    """The one row that the statement returns, or None."""
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(statement.sql, statement.bind(values, connection))
        row = cursor.fetchone()
    return None if row is None else statement.to_instance(model, row, connection)


def _updating(
    model: Any, using: str, guard: Columns, changes: Columns, *, is_returning: bool = False
) -> tuple[Statement, list[Any]]:
    """The compiled UPDATE, and the values of its placeholders."""
    values: list[Any] = []
    shapes = _shapes(guard, values), _shapes(changes, values)
    key = ("update", using, model, is_returning, *shapes)
    if (statement := _compiled.get(key)) is None:
        places = iter(range(len(values)))
        rows = model.objects.using(using).filter(**_with_placeholders(model, guard, places))
        query: Any = rows.query.chain(UpdateQuery)
        query.add_update_values(_with_placeholders(model, changes, places))
        compiler = query.get_compiler(using)
        sql, parameters = compiler.as_sql()
        fields = model._meta.concrete_fields if is_returning else ()
        if is_returning:
            quote = connections[using].ops.quote_name
            sql += f" RETURNING {', '.join(quote(str(field.column)) for field in fields)}"
        statement = _compiled[key] = _statement(sql, parameters, compiler, fields)
    return statement, values


def _statement(
    sql: str, parameters: Iterable[Any], compiler: Any, fields: Sequence[Any]
) -> Statement:
    columns = [field.get_col(field.model._meta.db_table) for field in fields]
    return Statement(
        sql,
        [
            (parameter.place, parameter.output_field)
            if isinstance(parameter, Placeholder)
            else (parameter, None)
            for parameter in parameters
        ],
        fields,
        compiler.get_converters(columns),
    )


def _shapes(columns: Columns, values: list[Any]) -> Hashable:
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
    if value is None:
        return None
    if isinstance(value, F):
        return F, value.name  # type: ignore[attr-defined]
    if isinstance(value, Value):
        values.append(value.value)
        return Value, type(value.value)
    if isinstance(value, CombinedExpression):
        return value.connector, _shape(value.lhs, values), _shape(value.rhs, values)
    if isinstance(value, Func | ExpressionWrapper):
        return type(value), *[_shape(part, values) for part in value.get_source_expressions()]
    if hasattr(value, "resolve_expression"):
        raise TypeError(f"A fixed statement takes no {type(value).__name__}: see _shape.")
    values.append(value)
    return Ellipsis


def _with_placeholders(model: Any, columns: Columns, places: Iterator[int]) -> dict[str, Any]:
    """`columns` with a Placeholder for each value, in the order of `_shapes`."""
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
    if value is None or isinstance(value, F):
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
