"""Guards broken on purpose, to test that the checkers notice."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from django.db.models import F

from async_reply import lifecycle
from async_reply.database.clock import DatabaseNow
from async_reply.models import Operation
from async_reply.status import ACTIVE, Status

Values = dict[str, Any]
Update = Callable[..., bool]
#: Makes a broken `lifecycle._update`, for a function called with the operation.
Mutation = Callable[[Update, Operation], Update]


@contextmanager
def mutated(mutation: Mutation, *functions: str) -> Iterator[None]:
    """Apply `mutation` to the statements of these `functions` of lifecycle, inside the block."""
    real = {name: getattr(lifecycle, name) for name in functions}
    for name, function in real.items():
        setattr(lifecycle, name, _mutated(function, mutation))
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(lifecycle, name, function)


def _mutated(function: Callable[..., Any], mutation: Mutation) -> Callable[..., Any]:
    @wraps(function)
    def call(operation: Operation, *args: Any, **options: Any) -> Any:
        update: Any = lifecycle._update
        mutant: Any = mutation(update, operation)
        lifecycle._update = mutant
        try:
            return function(operation, *args, **options)
        finally:
            lifecycle._update = update

    return call


def guarded(change: Callable[[Values], Values]) -> Mutation:
    return lambda update, _: (
        lambda pk, guard, changes, **insert: update(pk, change(guard), changes, **insert)
    )


def without(*lookups: str) -> Mutation:
    """Remove `lookups` from the guard."""
    return guarded(lambda guard: {key: guard[key] for key in guard.keys() - set(lookups)})


def also(**more: Any) -> Mutation:
    """Let the statement change `more` columns."""
    return lambda update, _: (
        lambda pk, guard, changes, **insert: update(pk, guard, changes | more, **insert)
    )


def or_lost(*statuses: Status) -> Mutation:
    """Claim an operation in `statuses` with an expired lease too, if none is due."""
    lost = {"status__in": statuses, "lease_expires_at__lte": DatabaseNow()}
    return lambda update, _: (
        lambda pk, guard, changes, **insert: (
            update(pk, guard, changes, **insert) or update(pk, lost, changes, **insert)
        )
    )


def fenced_by_attempt(update: Update, operation: Operation) -> Update:
    """Allow a claim with budgets that were read before a retry."""
    by_attempt = {"attempt": operation.attempt}
    mutation = without("version")(update, operation)
    return lambda pk, guard, changes, **insert: mutation(pk, guard | by_attempt, changes, **insert)


def while_active(guard: Values) -> Values:
    return guard | {"status__in": sorted(ACTIVE)}


def within_attempts(guard: Values) -> Values:
    """Count attempts as the budget of retries, so that a release or a rescue uses it up."""
    others = {key: guard[key] for key in guard.keys() - {"retries__lt"}}
    return others | {"attempt__lte": F("max_retries")}
