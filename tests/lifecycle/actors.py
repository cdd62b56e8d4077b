"""Who touches an operation, and what its knowledge of the row is worth after others wrote.

An actor that is not scheduled is frozen, so a zombie needs no action of its own: it is a worker
that goes on after its claim was taken away.
"""

from enum import IntEnum
from typing import NamedTuple

from async_reply.status import Status
from tests.lifecycle.interpreter import Time
from tests.lifecycle.model import CLAIMED, PUBLISHED, SEEN, TAKEN, Row


class Grip(IntEnum):
    """What an actor's knowledge of the row is still worth."""

    HELD = 0  # as read; of a running attempt: the claim is its own
    DONE = 1  # it wrote its outcome and does not know
    TAKEN = 2  # the row moved on, within the same attempt; of a publish: an attempt has begun
    OLD = 3  # another attempt, or another publish, has begun


class Actor(NamedTuple):
    """A worker, or a hand: somebody else who acts on what was read earlier."""

    stage: str = "idle"
    grip: Grip = Grip.HELD
    budget: int = 0  # retries of a worker's, losses of a rescuer's snapshot
    word: str = ""  # the function whose outcome is unknown; the status that was read


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
    """The actor after somebody else's statement had `effect`."""
    if actor.stage in ("publish", "send"):
        return _moved_publisher(actor, effect)
    if effect & CLAIMED and actor.stage != "idle":
        return actor._replace(grip=Grip.OLD)
    stale = SEEN if actor.stage == "read" else TAKEN
    if actor.grip == Grip.HELD and effect & stale and actor.stage in WORKING:
        return actor._replace(grip=Grip.TAKEN)
    return actor


def _moved_publisher(actor: Actor, effect: int) -> Actor:
    if effect & PUBLISHED:
        return actor._replace(grip=Grip.OLD)
    if effect & CLAIMED and actor.grip == Grip.HELD:
        return actor._replace(grip=Grip.TAKEN)
    return actor


def clock(row: Row | None) -> list[Step]:
    """Time passes for one column at a time; nobody is over before its lease is."""
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
