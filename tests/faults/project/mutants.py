"""Breaks one rule of the product, so that a test can show that the suite detects it."""

import time
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from django.db.models import Q

from async_reply import conf, lifecycle
from async_reply.attempts import claims, event_storage, rescue, step_storage
from async_reply.attempts.cursors import Kept
from async_reply.database.clock import DatabaseNow
from async_reply.models import Operation
from async_reply.publishing import relay
from async_reply.services import intake
from tests.lifecycle.mutants import mutated, without

_open = ExitStack()


def install(name: str) -> None:
    """Break the rule in this process, until it ends."""
    MUTANTS[name]()


def _drop_fence() -> None:
    """Only the status guards a worker's writes, so a worker without a lease may write, too.

    Events are not written, since they have a guard of their own. The heartbeat does not look at
    the attempt either: whether it beats before the job ends would be chance.
    """
    event_storage.write = lambda *_: True
    claim: Any = claims.Claim
    beat = claim.beat

    def beat_of_any(self: Any, row: Any, **options: Any) -> None:
        beat(self, row and (row[0], self.operation.attempt, row[2]), **options)

    claim.beat = beat_of_any
    _open.enter_context(mutated(without("attempt"), "beat", "succeed", "fail", "end_canceled"))


def _claim_anything() -> None:
    """A message starts an attempt without a look at the row."""
    dropped = without("status", "version", "available_at__lte")
    _open.enter_context(mutated(dropped, "claim"))


def _publish_before_commit() -> None:
    """The message is sent before the row is committed, so a worker finds no row."""
    insert_row = intake._insert_row

    def publish_and_insert(operation: Operation) -> None:
        relay._publish_first(operation)
        time.sleep(0.5)
        insert_row(operation)

    intake._insert_row = publish_and_insert
    relay.publish_on_commit = lambda operation: None


def _republish_by_age() -> None:
    """A message counts as lost after some time, even if a backlog delays it."""
    age = timedelta(seconds=conf.get("REPUBLISH_AFTER"))
    relay._waited_long = lambda: Q(published_at__lte=DatabaseNow() - age)
    relay._lost = lambda waiting: iter(waiting)


def _rescue_the_living() -> None:
    """A rescue does not look at the lease."""

    def lost() -> Any:
        return Operation.objects.active()

    manager: Any = Operation.objects
    manager.lost = lost
    _open.enter_context(mutated(without("lease_expires_at__lte"), "rescue"))


def _forget_failed_publish() -> None:
    """A submit whose message the broker refused counts as published."""
    lifecycle.hand_back = lambda operation, *, delay=0: True
    relay.republish_lost = lambda: 0


def _never_rescue() -> None:
    """The operation of a killed worker stays running, as in comparable packages."""
    rescue.rescue = lambda: 0


def _store_steps_later() -> None:
    """An atomic step commits the writes of its function, and then its row."""

    def store(claim: Any, row: Any, call: Any) -> Any:
        cause = call()
        time.sleep(1)
        if cause is None:
            step_storage.store(claim, row)
        return cause

    step_storage.store_atomically = store


def _forget_cursors() -> None:
    """Each attempt begins its loops anew."""
    kept: Any = claims
    kept.Kept = lambda *_: Kept("")


def _forget_last_events() -> None:
    """An attempt ends without the events that its thread has not written yet."""
    claim: Any = claims.Claim
    claim.end_events = lambda self: self.events.close()


MUTANTS = {
    "no fence": _drop_fence,
    "claims anything": _claim_anything,
    "publishes before the commit": _publish_before_commit,
    "republishes by age": _republish_by_age,
    "rescues the living": _rescue_the_living,
    "forgets a failed publish": _forget_failed_publish,
    "stores steps later": _store_steps_later,
    "forgets cursors": _forget_cursors,
    "never rescues": _never_rescue,
    "forgets the last events": _forget_last_events,
}
