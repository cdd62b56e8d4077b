"""The actors on an operation, and how valid their knowledge of the row is after others wrote.

An actor waits until the checker lets it act. So a zombie needs no code: it is a worker that goes on
after another attempt has begun.
"""

from enum import IntEnum
from typing import NamedTuple

from async_reply.status import Status
from tests.lifecycle.interpreter import Time
from tests.lifecycle.model import CLAIMED, PUBLISHED, SEEN, TAKEN, Row


class Knowledge(IntEnum):
    """How valid an actor's knowledge of the row is."""

    CURRENT = 0  # as read; in a running attempt: it holds the claim
    STORED = 1  # it has stored its outcome, but does not know that
    OUTDATED = 2  # the row changed within the same attempt; of a publish: an attempt has begun
    SUPERSEDED = 3  # another attempt, or another publish, has begun


class Actor(NamedTuple):
    """A worker, or an outsider that acts on a row it read earlier."""

    stage: str = "idle"
    knowledge: Knowledge = Knowledge.CURRENT
    budget: int = 0  # retries of a worker's, losses of a rescuer's snapshot
    word: str = ""  # of a worker the function of unknown outcome, of others the status read


IDLE = Actor()


class Step(NamedTuple):
    label: str
    row: Row | None
    actor: Actor
    effect: int = 0
    messages: int = 0


#: Stages of a worker.
WORKING = frozenset({"read", "running", "refused", "unsure"})


def moved(actor: Actor, effect: int) -> Actor:
    """The actor after a statement of another actor had `effect`."""
    if actor.stage in ("publish", "send"):
        return _moved_publisher(actor, effect)
    if effect & CLAIMED and actor.stage != "idle":
        return actor._replace(knowledge=Knowledge.SUPERSEDED)
    outdating = SEEN if actor.stage == "read" else TAKEN
    if actor.knowledge == Knowledge.CURRENT and effect & outdating and actor.stage in WORKING:
        return actor._replace(knowledge=Knowledge.OUTDATED)
    return actor


def _moved_publisher(actor: Actor, effect: int) -> Actor:
    if effect & PUBLISHED:
        return actor._replace(knowledge=Knowledge.SUPERSEDED)
    if effect & CLAIMED and actor.knowledge == Knowledge.CURRENT:
        return actor._replace(knowledge=Knowledge.OUTDATED)
    return actor


def clock(row: Row | None) -> list[Step]:
    """Time passes for one column at a time. A deadline passes together with the lease."""
    if row is None:
        return []
    rows: dict[str, Row] = {}
    if row.lease_expires_at == Time.FUTURE:
        rows["lease runs out"] = row._replace(lease_expires_at=Time.PAST)
    if row.deadline_at == Time.FUTURE:
        rows["deadline passes"] = row._replace(lease_expires_at=Time.PAST, deadline_at=Time.PAST)
    if row.status == Status.PENDING and row.available_at > Time.LONG_AGO:
        rows["due"] = row._replace(available_at=Time(row.available_at - 1))
    if row.purge_at == Time.FUTURE:
        rows["retention is over"] = row._replace(purge_at=Time.PAST)
    return [Step(label, later, IDLE) for label, later in rows.items()]
