"""A worker that acts as `runner` does: it reads the row, claims, beats and finishes."""

from collections.abc import Iterator
from typing import Any

from async_reply import columns
from async_reply.models import Operation
from async_reply.status import Status
from tests.lifecycle.actors import IDLE, Actor, Knowledge, Step
from tests.lifecycle.model import (
    CLAIMED,
    MAX_PAUSES,
    MAX_RELEASES,
    MAX_RETRIES,
    MAX_STEPS,
    Answer,
    Row,
    Table,
)
from tests.lifecycle.rules import require

FINISHES = ("succeed", "fail", "retry", "release", "pause", "end_canceled")
#: The status that shows in the row after the answer to COMMIT was lost.
ENDINGS = {
    "succeed": Status.SUCCEEDED,
    "fail": Status.FAILED,
    "end_canceled": Status.CANCELED,
}
#: The arguments of the functions, besides the operation.
OPTIONS: dict[str, dict[str, Any]] = {
    "fail": {"error": {"title": "broken"}},
    "retry": {"delay": 60},
    "pause": {
        "sort": "sleep",
        "paused": columns.paused(Operation(), 60, is_rest=False),
        "is_further": True,
        "unsaved": {},
    },
}


class Worker:
    """A worker that acts step by step and may crash between any two steps."""

    def __init__(self, table: Table, *, max_steps: int = MAX_STEPS) -> None:
        self.table, self.max_steps = table, max_steps

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
            yield Step("claim misses", row, IDLE)
            return
        require(answer.row is not None and answer.effect & CLAIMED, "a claim begins an attempt")
        assert answer.row is not None
        require(answer.snapshot.attempt == answer.row.attempt, "a claim returns its attempt")
        yield Step("claim", answer.row, Actor("running", budget=actor.budget), answer.effect)

    def _running(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        unchanged: dict[str, Any] = {}
        for progress in (unchanged, {"progress": 1, "message": "half"}):
            answer = self._call(row, "beat", actor, **progress)
            if answer.value:
                label = "beat with progress" if progress else "beat"
                yield Step(label, answer.row, actor, answer.effect)
            else:
                yield Step("beat misses", row, self._left(row, actor))
        if self.max_steps and (row is None or row.steps < self.max_steps):
            answer = self._call(row, "store_step", actor)
            if answer.value:
                # The budgets are given back in the row and in the worker's memory.
                yield Step("step", answer.row, actor._replace(budget=0), answer.effect)
            else:
                yield Step("step misses", row, self._left(row, actor))
        for function in FINISHES:
            if self._may(function, row, actor):
                yield from self._finish(row, actor, function)

    def _refused(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        yield from self._finish(row, actor, "end_canceled")

    def _unsure(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        yield from self._finish(row, actor, actor.word)

    def _may(self, function: str, row: Row | None, actor: Actor) -> bool:
        if function == "retry":
            return actor.budget < MAX_RETRIES
        if function == "release":
            return row is None or row.releases < MAX_RELEASES
        if function == "pause":
            return self.max_steps > 0 and (row is None or row.pauses < MAX_PAUSES)
        # A row stays canceling while the claim is held, so the holder sees it.
        is_canceling = row is not None and row.status == Status.CANCELING
        return function != "end_canceled" or is_canceling or actor.knowledge != Knowledge.CURRENT

    def _finish(self, row: Row | None, actor: Actor, function: str) -> Iterator[Step]:
        """One transaction, with each outcome of its COMMIT, as in `finishing.finish`."""
        unsure = actor._replace(stage="unsure", word=function)
        yield Step(f"{function} fails to commit", row, unsure)
        answer = self._call(row, function, actor, **OPTIONS.get(function, {}))
        if answer.value:
            yield Step(function, answer.row, IDLE, answer.effect)
            lost = unsure._replace(knowledge=Knowledge.STORED)
            yield Step(f"{function}, answer lost", answer.row, lost, answer.effect)
        elif actor.stage == "unsure" and function in ENDINGS:
            self._read_row(row, actor, function)
            yield Step(f"{function} misses again, read the row", row, IDLE)
        elif function not in ENDINGS:
            # The next step is the same whether or not the first try was stored.
            knowledge = (
                Knowledge.OUTDATED if actor.knowledge == Knowledge.STORED else actor.knowledge
            )
            yield Step(f"{function} refused", row, Actor("refused", knowledge))
        else:
            yield Step(f"{function} misses", row, self._left(row, actor))

    @staticmethod
    def _read_row(row: Row | None, actor: Actor, function: str) -> None:
        """Check the conclusion from the row, after the answer to COMMIT was lost."""
        if row is None or row.deleted or actor.knowledge == Knowledge.SUPERSEDED:
            return
        is_stored = bool(row.results) if function == "succeed" else row.status == ENDINGS[function]
        if actor.knowledge == Knowledge.STORED:
            require(is_stored, "a worker that stored an outcome learns so")
        elif function == "succeed":
            require(not is_stored, "a worker that stored nothing reports no success")
        require(actor.knowledge != Knowledge.CURRENT, "an attempt that holds its claim can finish")

    @staticmethod
    def _left(row: Row | None, actor: Actor) -> Actor:
        require(actor.knowledge != Knowledge.CURRENT, "an attempt that holds its claim can write")
        return IDLE

    def _call(self, row: Row | None, function: str, actor: Actor, **options: Any) -> Answer:
        attempt = 0 if row is None else row.attempt - (actor.knowledge == Knowledge.SUPERSEDED)
        version = -int(actor.knowledge != Knowledge.CURRENT) if function == "claim" else 0
        read = {"attempt": attempt, "retries": actor.budget, "version": version}
        is_holder = function == "claim" or actor.knowledge == Knowledge.CURRENT
        return self.table.call(row, function, read, is_holder=is_holder, **options)
