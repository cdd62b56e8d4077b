"""A worker as `runner` makes it: it reads on receiving a message, claims, beats, finishes."""

from collections.abc import Iterator
from typing import Any

from async_reply.status import Status
from tests.lifecycle.actors import IDLE, Actor, Grip, Step
from tests.lifecycle.model import CLAIMED, MAX_RELEASES, MAX_RETRIES, Answer, Row, Table
from tests.lifecycle.rules import require

FINISHES = ("succeed", "fail", "retry", "release", "end_canceled")
#: What the runner looks for in the row when the answer to COMMIT was lost.
ENDINGS = {
    "succeed": Status.SUCCEEDED,
    "fail": Status.FAILED,
    "end_canceled": Status.CANCELED,
}
#: What the functions are called with besides the operation.
OPTIONS: dict[str, dict[str, Any]] = {
    "fail": {"error": {"title": "broken"}},
    "retry": {"delay": 60},
}


class Worker:
    """One thing after the other, and crashes anywhere."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def steps(self, row: Row | None, actor: Actor) -> list[Step]:
        steps = [*getattr(self, f"_{actor.stage}")(row, actor)]
        if actor != IDLE:
            steps.append(Step("crash", row, IDLE))
        return steps

    def _idle(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        read = IDLE if row is None else Actor("read", budget=row.retries)
        yield Step("receive", row, read, messages=-1)
        answer = self.table.call(row, "reject", {})
        yield Step("receive unknown kind", answer.row, IDLE, answer.effect, messages=-1)

    def _read(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        answer = self._call(row, "claim", actor, worker="worker")
        if not answer.value:
            yield Step("claim in vain", row, IDLE)
            return
        require(answer.row is not None and answer.effect & CLAIMED, "a claim begins an attempt")
        assert answer.row is not None
        require(answer.snapshot.attempt == answer.row.attempt, "who claims knows its attempt")
        yield Step("claim", answer.row, Actor("running", budget=actor.budget), answer.effect)

    def _running(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        quiet: dict[str, Any] = {}
        for news in (quiet, {"progress": 1, "message": "news"}):
            answer = self._call(row, "beat", actor, **news)
            if answer.value:
                yield Step("beat" + " news" * bool(news), answer.row, actor, answer.effect)
            else:
                yield Step("beat in vain", row, self._left(row, actor))
        for function in FINISHES:
            if self._may(function, row, actor):
                yield from self._finish(row, actor, function)

    def _refused(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        yield from self._finish(row, actor, "end_canceled")

    def _unsure(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        yield from self._finish(row, actor, actor.word)

    @staticmethod
    def _may(function: str, row: Row | None, actor: Actor) -> bool:
        if function == "retry":
            return actor.budget < MAX_RETRIES
        if function == "release":
            return row is None or row.releases < MAX_RELEASES
        # Told by the row, which stays canceling for as long as the claim is held.
        told = row is not None and row.status == Status.CANCELING
        return function != "end_canceled" or told or actor.grip != Grip.HELD

    def _finish(self, row: Row | None, actor: Actor, function: str) -> Iterator[Step]:
        """One transaction, with each fate of its COMMIT; as `runner._ended`."""
        unsure = actor._replace(stage="unsure", word=function)
        yield Step(f"{function} fails to commit", row, unsure)
        answer = self._call(row, function, actor, **OPTIONS.get(function, {}))
        if answer.value:
            yield Step(function, answer.row, IDLE, answer.effect)
            lost = unsure._replace(grip=Grip.DONE)
            yield Step(f"{function}, answer lost", answer.row, lost, answer.effect)
        elif actor.stage == "unsure" and function in ENDINGS:
            self._ask(row, actor, function)
            yield Step(f"{function} again in vain, ask", row, IDLE)
        elif function in ("retry", "release"):
            # Whether it was stored before makes no difference to what comes next.
            grip = Grip.TAKEN if actor.grip == Grip.DONE else actor.grip
            yield Step(f"{function} refused", row, Actor("refused", grip))
        else:
            yield Step(f"{function} in vain", row, self._left(row, actor))

    @staticmethod
    def _ask(row: Row | None, actor: Actor, function: str) -> None:
        """What the row tells about an outcome of unknown fate."""
        if row is None or row.deleted or actor.grip == Grip.OLD:
            return
        stored = bool(row.results) if function == "succeed" else row.status == ENDINGS[function]
        if actor.grip == Grip.DONE:
            require(stored, "who stored an outcome learns of it")
        elif function == "succeed":
            require(not stored, "who stored nothing does not report success")
        require(actor.grip != Grip.HELD, "an attempt that holds its claim can finish")

    @staticmethod
    def _left(row: Row | None, actor: Actor) -> Actor:
        require(actor.grip != Grip.HELD, "an attempt that holds its claim can write")
        return IDLE

    def _call(self, row: Row | None, function: str, actor: Actor, **options: Any) -> Answer:
        attempt = 0 if row is None else row.attempt - (actor.grip == Grip.OLD)
        version = -int(actor.grip != Grip.HELD) if function == "claim" else 0
        read = {"attempt": attempt, "retries": actor.budget, "version": version}
        own = function == "claim" or actor.grip == Grip.HELD
        return self.table.call(row, function, read, own=own, **options)
