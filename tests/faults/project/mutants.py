"""The product with one rule broken: what a suite that sees nothing would let pass."""

import time
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from django.db.models import Q

from async_reply import conf, lifecycle
from async_reply.attempts import rescue
from async_reply.database.clock import DatabaseNow
from async_reply.models import Operation
from async_reply.publishing import relay
from tests.lifecycle.mutants import mutated, without

_open = ExitStack()


def install(name: str) -> None:
    """Break the rule for the rest of this process's life."""
    MUTANTS[name]()


def _drop_fence() -> None:
    """A worker's writes are guarded by the status alone: those of a zombie too."""
    _open.enter_context(mutated(without("attempt"), "beat", "succeed", "fail", "end_canceled"))


def _claim_anything() -> None:
    """A message is enough to start an attempt, whatever the row says."""
    dropped = without("status", "version", "available_at__lte")
    _open.enter_context(mutated(dropped, "claim"))


def _publish_before_commit() -> None:
    """The message goes out with the INSERT, and a worker is quicker than the COMMIT."""

    def publish(operation: Operation) -> None:
        relay._publish_first(operation)
        time.sleep(0.5)

    relay.publish_on_commit = publish


def _republish_by_age() -> None:
    """What nobody claimed for long is taken for lost, backlog or not."""
    age = timedelta(seconds=conf.get("REPUBLISH_AFTER"))
    relay._waited_long = lambda: Q(published_at__lte=DatabaseNow() - age)
    relay._lost = lambda waiting: iter(waiting)


def _rescue_the_living() -> None:
    """The rescuer trusts what it read and looks at no lease."""

    def lost() -> Any:
        return Operation.objects.active()

    manager: Any = Operation.objects
    manager.lost = lost
    _open.enter_context(mutated(without("lease_expires_at__lte"), "rescue"))


def _forget_failed_publish() -> None:
    """A submit that the broker refused counts as published, and is never looked for again."""
    lifecycle.hand_back = lambda operation, *, delay=0: True
    relay.republish_lost = lambda: 0


def _never_rescue() -> None:
    """Who was killed stays running for good: what the peers do."""
    rescue.rescue = lambda: 0


MUTANTS = {
    "no fence": _drop_fence,
    "claims anything": _claim_anything,
    "publishes before the commit": _publish_before_commit,
    "republishes by age": _republish_by_age,
    "rescues the living": _rescue_the_living,
    "forgets a failed publish": _forget_failed_publish,
    "never rescues": _never_rescue,
}
