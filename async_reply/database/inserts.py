"""Inserts rows by statements that Django compiles once.

A new operation has fifty columns, and half of them hold their default. The SQL says these defaults
itself: a submit that binds each of them as a parameter takes 6 % more.
"""

from collections.abc import Callable, Hashable
from functools import cache
from typing import Any

from django.conf import settings
from django.db import connections, transaction
from django.db.models import NOT_PROVIDED, Field, Model
from django.db.models.base import ModelState
from django.db.models.signals import post_init, post_save, pre_init, pre_save
from django.db.models.sql import InsertQuery

from async_reply.database import shapes, statements


def new(model: Any, **columns: Any) -> Any:
    """An instance to insert, like `model(**columns)` makes it. The names are those of attributes.

    Django asks each of fifty fields for its default, which takes a twentieth of a submit.
    """
    if pre_init.has_listeners(model) or post_init.has_listeners(model):
        return model(**columns)
    constants, functions = _defaults(model)
    row = model.__new__(model)
    made = {name: function() for name, function in functions.items() if name not in columns}
    vars(row).update(constants, **made, **columns, _state=ModelState())
    return row


def insert(row: Model, using: str) -> None:
    """Insert `row` like `save(force_insert=True)`. It then has the values that the database chose.

    Django does it where receivers of signals want to hear of it, and where the database cannot
    return columns.
    """
    model, connection = type(row), connections[using]
    has_receivers = any(signal.has_listeners(model) for signal in (pre_save, post_save))
    if has_receivers or not connection.features.can_return_columns_from_insert:
        row.save(force_insert=True, using=using)
        return
    statement, values = _inserting(row, using)
    with transaction.mark_for_rollback_on_error(using=using), connection.cursor() as cursor:
        cursor.execute(statement.sql, statement.bind(values, connection))
        chosen = cursor.fetchone() if statement.names else ()
    vars(row).update(statement.to_python(chosen, connection))
    row._state.adding = False  # noqa: SLF001 as save() does it
    row._state.db = using  # noqa: SLF001


def _inserting(row: Model, using: str) -> tuple[statements.Statement, list[Any]]:
    """The compiled INSERT, which returns what `row` does not say itself, and its values."""
    values: list[Any] = []
    columns = _columns(row)
    key: Hashable = ("insert", using, settings.USE_TZ, type(row), shapes.of(columns, values))
    if (statement := statements.kept.get(key)) is None:
        fields = row._meta.concrete_fields
        marked = shapes.with_placeholders(row, columns, iter(range(len(values))))
        template = type(row)(
            **{
                field.attname: marked.get(field.name, shapes.Literal(field.get_default()))
                for field in fields
            }
        )
        query = InsertQuery(type(row))
        query.insert_values(fields, [template])
        compiler: Any = query.get_compiler(using)
        ((sql, parameters),) = compiler.as_sql()
        chosen = [
            field for field in fields if hasattr(columns.get(field.name), "resolve_expression")
        ]
        returned = statements.columns_of(chosen, using)
        statement = statements.compiled(sql, parameters, compiler, returned, is_returning=True)
        statements.kept[key] = statement
    return statement, values


def _columns(row: Model) -> dict[str, Any]:
    """The value of each field, by its name, without those that hold a default of `_literals`."""
    state = vars(row)
    return {
        field.name: value
        if type(value) in shapes.PLAIN and type(field).pre_save is Field.pre_save
        else field.pre_save(row, add=True)
        for field, default, kind in _literals(type(row))
        if type(value := state[field.attname]) is not kind or value != default
    }


@cache
def _literals(model: type[Model]) -> list[tuple["Field[Any, Any]", Any, type | None]]:
    """Each field with its default and the type of it, if the SQL can say this default itself."""
    constants, _ = _defaults(model)
    defaults = [(field, constants.get(field.attname, ...)) for field in model._meta.concrete_fields]
    return [
        (field, default, type(default) if shapes.Literal.takes(default) else None)
        for field, default in defaults
    ]


@cache
def _defaults(model: type[Model]) -> tuple[dict[str, Any], dict[str, Callable[[], Any]]]:
    """By attribute: the defaults that are constants, and functions that make one for each row."""
    constants: dict[str, Any] = {}
    functions: dict[str, Callable[[], Any]] = {}
    for field in model._meta.concrete_fields:
        is_made = callable(field.default) and field.has_default()
        if is_made or field.db_default is not NOT_PROVIDED:
            functions[field.attname] = field.get_default
        else:
            constants[field.attname] = field.get_default()
    return constants, functions
