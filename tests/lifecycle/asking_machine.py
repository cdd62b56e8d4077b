"""The rules of the state machine, and those of a job that asks and of people who answer."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, multiple, rule

from async_reply import services
from async_reply.attempts.jobs import Job
from async_reply.exceptions import AlreadyFinished, NoAnswer, NotAsked
from async_reply.models import Operation, OperationStep
from async_reply.status import Status
from tests.lifecycle.machine import LifecycleMachine
from tests.lifecycle.playing import LATER
from tests.lifecycle.rules import require

#: Longer than the time that passes at once.
TIMEOUT = timedelta(seconds=3 * LATER)


class AskingMachine(LifecycleMachine):
    """Answers meet operations that are asked, claimed, canceled, timed out and purged meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        #: The word of each answer; '' if nobody has answered.
        self.facts: dict[UUID, str] = {}

    asked: Bundle[Operation] = Bundle("asked")

    @rule(target=asked, pk=LifecycleMachine.operations)
    def ask(self, pk: UUID) -> Any:
        """Let the runner run an attempt that asks, or goes on behind its question."""

        def script(job: Job) -> Any:
            try:
                word = str(job.ask("approve", timeout=TIMEOUT)["word"])
            except NoAnswer:
                word = ""
            self._note(pk, word)
            return word

        self.play(pk, script)
        snapshot = Operation.objects.filter(pk=pk).first()
        return multiple() if snapshot is None else snapshot

    @rule(snapshot=asked, word=st.sampled_from("ab"))
    def answer(self, snapshot: Operation, word: str) -> None:
        row = self.world.rows.get(snapshot.pk)
        if row is None:
            return
        is_current = snapshot.version == row["version"]
        is_asked = (row["status"], row["pause"]) == (Status.PENDING, OperationStep.Sort.QUESTION)
        try:
            question = services.answer(snapshot, "approve", {"word": word})
        except (AlreadyFinished, NotAsked):
            require(not (is_current and is_asked), "an open question takes an answer")
        else:
            require(json.loads(question.value) == {"word": word}, "an answer is stored as given")
            self._note(snapshot.pk, word)

    def _note(self, pk: UUID, word: str) -> None:
        require(self.facts.setdefault(pk, word) == word, "an answer never changes")
