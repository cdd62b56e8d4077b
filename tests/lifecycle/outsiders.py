"""Relay, rescuer, client and purge: they read the row, and write at once or much later."""

from collections.abc import Iterator

from async_reply.status import ACTIVE, FINAL, UNFINISHED, Status
from tests.lifecycle.actors import IDLE, Actor, Knowledge, Step, clock
from tests.lifecycle.interpreter import Time
from tests.lifecycle.model import SEEN, TAKEN, Row, Table
from tests.lifecycle.rules import require


class Outsider:
    """An actor without a claim, which may be slow between reading and writing."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def steps(self, row: Row | None, actor: Actor) -> list[Step]:
        if actor == IDLE:
            return [Step(f"{reader.stage} reads", row, reader) for reader in self._reads(row)]
        return [*getattr(self, f"_{actor.stage}")(row, actor), Step("lets go", row, IDLE)]

    def _reads(self, row: Row | None) -> Iterator[Actor]:
        if row is None:
            return
        if row.status == Status.PENDING and row.available_at <= Time.PAST:
            yield Actor("publish")
        if row.status in ACTIVE and row.lease_expires_at != Time.FUTURE:
            yield Actor("rescue", budget=row.losses, word=row.status)
        if row.status in UNFINISHED - {Status.CANCELING}:
            yield Actor("cancel", word=row.status)

    def at_once(self, row: Row | None) -> list[Step]:
        """The steps of outsiders that read and write between two steps of all other actors."""
        steps = [*self._purge(row)]
        for actor in self._reads(row):
            for step in self.steps(row, actor):
                if step.actor == IDLE:
                    steps.append(step)
                elif step.actor.stage == "send":
                    steps.append(step._replace(actor=IDLE, messages=1))
        return steps

    def clock(self, row: Row | None) -> list[Step]:
        """The steps of time."""
        return clock(row)

    def _publish(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        answer = self.table.call(row, "reserve", _published(row, actor))
        if not answer.value:
            require(
                actor.knowledge != Knowledge.CURRENT or not _due(row),
                "a due operation can be published",
            )
            yield Step("reserve misses", row, IDLE)
            return
        require(answer.snapshot.publishes == 1, "a reservation is the latest, and has one owner")
        yield Step("reserve", answer.row, Actor("send"), answer.effect)

    def _send(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        yield Step("send", row, IDLE, messages=1)
        yield Step("send, answer lost", row, actor, messages=1)
        answer = self.table.call(row, "hand_back", _published(row, actor))
        is_handed_back = answer.value
        require(
            not is_handed_back or actor.knowledge != Knowledge.SUPERSEDED,
            "a reservation is handed back by its owner",
        )
        require(
            not is_handed_back or actor.knowledge != Knowledge.OUTDATED,
            "an operation that has run is not handed back",
        )
        yield Step("send fails, hand_back", answer.row, IDLE, answer.effect)

    def _rescue(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        yield from self._rescued(row, actor, misses=0)
        if actor.word == Status.RUNNING and not _overdue(row, actor):
            yield Step("rescue within the deadline", row, actor._replace(stage="rescue_rest"))

    def _rescue_rest(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        yield from self._rescued(row, actor, misses=1)

    def _rescued(self, row: Row | None, actor: Actor, *, misses: int) -> Iterator[Step]:
        attempt = 0 if row is None else row.attempt - (actor.knowledge == Knowledge.SUPERSEDED)
        read = {"status": actor.word, "attempt": attempt, "losses": actor.budget}
        answer = self.table.call(row, "rescue", read, misses=misses)
        is_lost = row is not None and row.lease_expires_at == Time.PAST
        if answer.value is None:
            is_same = (
                row is not None
                and row.status == actor.word
                and actor.knowledge != Knowledge.SUPERSEDED
            )
            require(not (is_lost and is_same), "a lost operation can be rescued")
            yield Step("rescue misses", row, IDLE)
            return
        require(is_lost, "a rescue waits until the lease is over")
        assert answer.row is not None
        require(answer.value == answer.row.status, "a rescue returns the new status")
        yield Step("rescue", answer.row, IDLE, answer.effect)

    def _cancel(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        """Cancel as `services.cancel` does: it reads a changed row again."""
        attempt = 0 if row is None else row.attempt - (actor.knowledge == Knowledge.SUPERSEDED)
        answer = self.table.call(row, "cancel", {"status": actor.word, "attempt": attempt})
        if answer.value:
            yield Step("cancel", answer.row, IDLE, answer.effect)
            return
        is_cancelable = row is not None and row.status in UNFINISHED - {Status.CANCELING}
        again = Actor("cancel", word=row.status) if row is not None and is_cancelable else IDLE
        require(again != actor, "a row that was just read can be canceled")
        yield Step("cancel misses", row, again)

    def _purge(self, row: Row | None) -> Iterator[Step]:
        for expired, label in ((True, "purge"), (False, "delete")):
            answer = self.table.call(row, "purge", {}, only_expired=expired)
            if answer.value:
                require(not expired or row is None or row.purge_at != Time.FUTURE, "purge waits")
                yield Step(label, answer.row, IDLE, answer.effect)
        if row is not None and row.deleted and row.purge_at == Time.PAST:
            require(row.status in FINAL, "purge removes no unfinished row")
            yield Step("remove tombstone", None, IDLE, SEEN | TAKEN)


def _published(row: Row | None, actor: Actor) -> dict[str, int]:
    """The columns that a publisher has read. `attempt` is older once the message has arrived."""
    attempt = 0 if row is None else row.attempt - (actor.knowledge == Knowledge.OUTDATED)
    return {"publishes": -int(actor.knowledge == Knowledge.SUPERSEDED), "attempt": attempt}


def _due(row: Row | None) -> bool:
    return row is not None and row.status == Status.PENDING and row.available_at <= Time.PAST


def _overdue(row: Row | None, actor: Actor) -> bool:
    """Whether the first statement of a rescue would hit."""
    return (
        row is not None
        and (row.status, row.deadline_at, row.lease_expires_at)
        == (actor.word, Time.PAST, Time.PAST)
        and actor.knowledge != Knowledge.SUPERSEDED
    )
