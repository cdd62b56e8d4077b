"""A job that asks a person twice. The answers race against timeout, cancel, rescue and claim.

Its states are few: the job is not retried or released, and each attempt asks, rests or succeeds.
"""

from collections.abc import Iterator
from typing import Any

from async_reply import columns
from async_reply.models import Operation
from async_reply.status import Status
from tests.lifecycle.actors import Actor, Knowledge, Step
from tests.lifecycle.checker import Checker, State
from tests.lifecycle.model import Answer, Question, Row, Table
from tests.lifecycle.outsiders import Outsider
from tests.lifecycle.rules import require
from tests.lifecycle.workers import Worker

MAX_QUESTIONS = 2
MAX_PAUSES = 2
#: The times that pass. Others are those of the full configuration.
TIMES = frozenset({"due", "lease runs out"})
PAUSED = columns.paused(Operation(), 60, is_rest=False)
#: `lifecycle.pause` for a new question, and for the rest of the time of an earlier one.
ASK = {"sort": "question", "paused": PAUSED, "is_further": True, "unsaved": {}}
REST = {**ASK, "is_further": False}
NO_QUESTION = Question(number=0, is_awaited=False, fact="none")


def question_of(row: Row | None) -> Question:
    return NO_QUESTION if row is None or row.question is None else row.question


class AskingTable(Table):
    """Stores the rows of questions as well, in the transaction of the operation's row."""

    def __init__(self) -> None:
        super().__init__(max_retries=0)

    def ask(self, row: Row | None, read: dict[str, Any], **options: Any) -> Answer:
        number = question_of(row).number + 1
        return self._with(Question(number, is_awaited=True), row, "pause", read, **options)

    def rest(self, row: Row | None, read: dict[str, Any], **options: Any) -> Answer:
        return self.call(row, "pause", read, **options)

    def store_fact(
        self, row: Row | None, function: str, read: dict[str, Any], number: int, **options: Any
    ) -> Answer:
        """Store the answer to the question of this number, or that there is none."""
        fact = "answer" if function == "answer" else "nobody"
        question = question_of(row)
        stored = Question(question.number, is_awaited=False, fact=fact)
        answer = self._with(stored, row, function, read, **options)
        if answer.value:
            require(number == question.number, "an answer belongs to the question that is open")
            require(question.fact == "", "a question has one answer, which never changes")
        return answer

    def _with(
        self, question: Question, row: Row | None, function: str, read: dict[str, Any], **more: Any
    ) -> Answer:
        answer = self.call(row, function, read, **more)
        if not answer.value or answer.row is None:
            return answer
        return answer._replace(row=answer.row._replace(question=question))


class AskingWorker(Worker):
    """Its job asks until it has two answers. `word` of a running actor is the fact it has read."""

    table: AskingTable

    def _read(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        for step in super()._read(row, actor):
            question = question_of(step.row)
            knows = step.actor._replace(word=question.fact, budget=question.number)
            yield step._replace(actor=knows) if step.actor.stage == "running" else step

    def _running(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        if actor.word == "":
            yield from self._give_up(row, actor)
            yield from self._finish(row, actor, "rest")
        elif actor.budget < MAX_QUESTIONS:
            yield from self._finish(row, actor, "ask")
        else:
            yield from self._finish(row, actor, "succeed")

    def _give_up(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        """The time for the answer is over: store that, before the job hears of it."""
        answer = self._call(row, "nobody", actor)
        if answer.value:
            yield Step("no answer", answer.row, actor._replace(word="nobody"), answer.effect)
        else:
            yield Step("no answer misses", row, self._left(row, actor))

    def _idle(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        yield from (step for step in super()._idle(row, actor) if step.label == "receive")

    def _finish(self, row: Row | None, actor: Actor, function: str) -> Iterator[Step]:
        """One transaction, whose COMMIT succeeds. A full attempt is lost instead, by a crash."""
        if function in ("ask", "rest") and row is not None and row.pauses >= MAX_PAUSES:
            return
        for step in super()._finish(row, actor, function):
            if step.actor.stage != "unsure":
                yield step

    def _call(self, row: Row | None, function: str, actor: Actor, **options: Any) -> Answer:
        attempt = 0 if row is None else row.attempt - (actor.knowledge == Knowledge.SUPERSEDED)
        read = {"attempt": attempt}
        is_holder = actor.knowledge == Knowledge.CURRENT
        match function:
            case "ask":
                return self.table.ask(row, read, is_holder=is_holder, **ASK)
            case "rest":
                return self.table.rest(row, read, is_holder=is_holder, **REST)
            case "nobody":
                number, further = actor.budget, columns.FURTHER
                return self.table.store_fact(
                    row, "beat", read, number, is_holder=is_holder, **further
                )
            case _:
                budget = actor._replace(budget=0)
                return super()._call(row, function, budget, **options)


class AskingOutsider(Outsider):
    """Somebody else reads the open question, and answers at once or much later."""

    table: AskingTable

    def at_once(self, row: Row | None) -> list[Step]:
        publishing = [actor for actor in super()._reads(row) if actor.stage == "publish"]
        steps = [
            step for actor in (*publishing, *self._reads(row)) for step in self.steps(row, actor)
        ]
        done = [step for step in steps if step.actor.stage in ("idle", "send")]
        # What is published is sent.
        return [
            step._replace(actor=Actor(), messages=int(step.actor.stage == "send")) for step in done
        ]

    def clock(self, row: Row | None) -> list[Step]:
        return [step for step in super().clock(row) if step.label in TIMES]

    def _reads(self, row: Row | None) -> Iterator[Actor]:
        yield from (actor for actor in super()._reads(row) if actor.stage != "publish")
        question = question_of(row)
        is_pending = row is not None and row.status == Status.PENDING
        if is_pending and question.is_awaited and question.fact == "":
            yield Actor("answer", budget=question.number)

    def _answer(self, row: Row | None, actor: Actor) -> Iterator[Step]:
        attempt = 0 if row is None else row.attempt - (actor.knowledge == Knowledge.SUPERSEDED)
        answer = self.table.store_fact(row, "answer", {"attempt": attempt}, actor.budget)
        if answer.value:
            yield Step("answer", answer.row, Actor("send"), answer.effect)
            return
        is_same = actor in self._reads(row)
        require(not is_same, "a question that was just read can be answered")
        yield Step("answer misses", row, Actor())


class AskingChecker(Checker):
    """Explores the actors of a job that asks. Each question is a step between its attempts."""

    def _starts(self) -> Iterator[State]:
        yield Row(published=True), 1, (Actor(),) * self.workers, (Actor(),) * self.outsiders

    def make_actors(self, steps: int) -> tuple[Table, Worker, Outsider]:
        table = AskingTable()
        return table, AskingWorker(table, max_steps=steps), AskingOutsider(table)
