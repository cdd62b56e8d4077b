"""Guards broken on purpose: what a checker that sees nothing would let pass."""

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
#: Makes one `lifecycle._update` of another, for a function called with that operation.
Mutation = Callable[[Update, Operation], Update]


@contextmanager
def mutated(mutation: Mutation, *functions: str) -> Iterator[None]:
    """`functions` of lifecycle send the statements that `mutation` makes of theirs."""
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
    """The guard lacks `lookups`."""
    return guarded(lambda guard: {key: guard[key] for key in guard.keys() - set(lookups)})


def also(**more: Any) -> Mutation:
    """The statement changes `more` columns."""
    return lambda update, _: (
        lambda pk, guard, changes, **insert: update(pk, guard, changes | more, **insert)
    )


def or_lost(*statuses: Status) -> Mutation:
    """Takes what is due, or else what is in `statuses` with an expired lease."""
    lost = {"status__in": statuses, "lease_expires_at__lte": DatabaseNow()}
    return lambda update, _: (
        lambda pk, guard, changes, **insert: (
            update(pk, guard, changes, **insert) or update(pk, lost, changes, **insert)
        )
    )


def fenced_by_attempt(update: Update, operation: Operation) -> Update:
    """Lets a claim pass that rests on budgets read before a retry."""
    own = {"attempt": operation.attempt}
    mutation = without("version")(update, operation)
    return lambda pk, guard, changes, **insert: mutation(pk, guard | own, changes, **insert)


def while_active(guard: Values) -> Values:
    return guard | {"status__in": sorted(ACTIVE)}


def within_attempts(guard: Values) -> Values:
    """What a retry needs, were attempts its budget: a release or a rescue consumes it."""
    kept = {key: guard[key] for key in guard.keys() - {"retries__lt"}}
    return kept | {"attempt__lte": F("max_retries")}
