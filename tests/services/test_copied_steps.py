"""A rerun that goes on behind the first steps of the operation that it repeats."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from async_reply import services
from async_reply.attempts import runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending
from async_reply.database.clock import after
from async_reply.exceptions import NoAnswer, NoSuchStep, OperationGone, StorageFailed
from async_reply.files import store
from async_reply.models import Operation, OperationFile, OperationStep
from async_reply.services import copied_steps
from async_reply.testing import run_operations
from tests.project import questions
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db


class Refused(Exception):
    pass


class Script:
    """A job of three steps, and the steps that it called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def run(self, operation: Operation, *, breaks: bool = False) -> Operation:
        def job(operation: Job) -> list[Any]:
            values = [operation.step("number", self.call, "number")]
            try:
                operation.step("refusal", self.refuse, stores=(Refused,))
            except Refused as error:
                values.append(str(error))
            with operation.step("file", self.write, operation) as file:
                values.append(file.read().decode())
            operation.state = {"seen": 3}
            if breaks:
                raise ValueError
            return [*values, operation.state]

        kind = Kind(name=echo.name, function=job)
        report = runner.run(operation.pk, kind, worker="w", inline=True)
        assert report.ending is (Ending.FAILED if breaks else Ending.SUCCEEDED)
        operation.refresh_from_db()
        return operation

    def call(self, name: str) -> str:
        self.calls.append(name)
        return name

    def refuse(self) -> None:
        self.calls.append("refusal")
        raise Refused("no")

    def write(self, operation: Job) -> Any:
        self.calls.append("file")
        return operation.file(b"bytes", name="a.txt", content_type="text/plain")


VALUE = ["number", "no", "bytes", {"seen": 3}]


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def failed(script: Script) -> Operation:
    operation = script.run(services.submit(echo, owner="7"), breaks=True)
    script.calls.clear()
    return operation


@pytest.mark.parametrize(
    ("from_step", "calls"),
    [
        (None, ["number", "refusal", "file"]),
        ("number", ["number", "refusal", "file"]),
        (1, ["number", "refusal", "file"]),
        ("refusal", ["refusal", "file"]),
        (3, ["file"]),
        (4, []),
    ],
)
def test_rerun__goes_on_behind_the_steps_before(
    from_step: Any, calls: list[str], script: Script, failed: Operation
) -> None:
    again = services.rerun(failed, from_step=from_step)
    services.delete(failed)
    ended = script.run(again)
    assert (script.calls, ended.result.value) == (calls, VALUE)
    rows = OperationStep.of(again)
    assert list(rows.values_list("name", "ordinal")) == [
        *(("number", 1), ("refusal", 2), ("file", 3))
    ]
    copied = 3 - len(calls)
    assert list(rows.values_list("attempt", flat=True)) == [0] * copied + [1] * len(calls)
    assert (ended.steps, ended.owner, ended.rerun_of_id) == (3, "7", failed.pk)


def test_rerun__copies_the_bytes_of_files(failed: Operation) -> None:
    again = services.rerun(failed, from_step=4)
    files = OperationFile.objects.filter(role=OperationFile.Role.STEP)
    original, copy = files.get(operation=failed), files.get(operation=again)
    assert copy.file.name != original.file.name
    assert (copy.name, copy.content_type, copy.sha256) == ("a.txt", "text/plain", original.sha256)
    assert OperationStep.of(again).get(name="file").file == copy


def test_rerun__keeps_the_state_behind_the_last_step_only(failed: Operation) -> None:
    assert services.rerun(failed, from_step=4).kept == failed.kept != ""
    assert services.rerun(failed, from_step=3).kept == ""
    assert services.rerun(failed).kept == ""


@pytest.mark.parametrize("from_step", [0, 5, -1, "", "other"])
def test_rerun__from_a_step_that_is_not_stored(from_step: Any, failed: Operation) -> None:
    with pytest.raises(NoSuchStep, match=f"no step {from_step!r}"):
        services.rerun(failed, from_step=from_step)
    assert Operation.objects.count() == 1


def test_rerun__asks_a_person_again() -> None:
    operation = services.submit(questions.approve)
    run_operations()
    operation.refresh_from_db()
    services.answer(operation, "approve", {"approved": True}, by="7")
    run_operations()
    operation.refresh_from_db()
    assert (operation.status, operation.steps) == ("succeeded", 1)
    again = services.rerun(operation, from_step=2)
    assert again.steps == 0
    run_operations()
    [question] = OperationStep.of(again)
    assert question.is_open


@pytest.fixture
def answered() -> Operation:
    """Asks twice, and stores a step behind each question. The second is not answered."""

    def job(operation: Job) -> None:
        operation.ask("approve", timeout=timedelta(days=1))
        operation.step("pay", lambda: 7)
        with suppress(NoAnswer):
            operation.ask("again", timeout=timedelta(days=1))
        operation.step("end", lambda: 8)
        raise ValueError

    operation = services.submit(questions.approve)
    asks = dict.fromkeys(("approve", "again"), questions.ApprovalSerializer)
    kind = replace(questions.approve.kind, function=job, asks=asks)
    runner.run(operation.pk, kind, worker="w", inline=True)
    operation.refresh_from_db()
    services.answer(operation, "approve", {"approved": True}, by="7")
    runner.run(operation.pk, kind, worker="w", inline=True)
    OperationStep.objects.filter(name="again").update(until=after(-1))
    Operation.objects.update(available_at=after(-1))
    runner.run(operation.pk, kind, worker="w", inline=True)
    operation.refresh_from_db()
    assert (operation.status, operation.steps) == ("failed", 4)
    return operation


@pytest.mark.parametrize(
    ("from_step", "names"),
    [("approve", []), ("pay", ["approve"]), ("again", ["approve", "pay"]), (5, ["approve", "pay"])],
)
def test_rerun__keeps_answers_on_request(
    from_step: Any, names: list[str], answered: Operation
) -> None:
    """The copies end before the first question that nobody answered."""
    again = services.rerun(answered, from_step=from_step, keep_answers=True)
    rows = list(OperationStep.of(again))
    assert ([row.name for row in rows], again.steps) == (names, len(names))
    if names:
        assert (rows[0].value, rows[0].answered_by) == ('{"approved": true}', "7")
        assert not rows[0].is_open
    assert services.rerun(answered, from_step=from_step).steps == 0


def test_rerun__goes_on_with_the_answer() -> None:
    operation = services.submit(questions.approve)
    run_operations()
    operation.refresh_from_db()
    services.answer(operation, "approve", {"approved": True}, by="7")
    run_operations()
    operation.refresh_from_db()
    again = services.rerun(operation, from_step=2, keep_answers=True)
    run_operations()
    again.refresh_from_db()
    assert again.result.value == {"answer": {"approved": True}}


def test_rerun__keeps_answers_of_copied_steps_alone(answered: Operation) -> None:
    with pytest.raises(ValueError, match="from_step"):
        services.rerun(answered, keep_answers=True)
    assert Operation.objects.count() == 1


def test_rerun__inserts_many_steps_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copied_steps, "ROWS_AT_ONCE", 3)

    def job(operation: Job) -> None:
        for number in range(8):
            operation.step(str(number), int)

    operation = services.submit(echo)
    kind = Kind(name=echo.name, function=job)
    runner.run(operation.pk, kind, worker="w", inline=True)
    operation.refresh_from_db()
    again = services.rerun(operation, from_step="7")
    assert [row.name for row in OperationStep.of(again)] == list("0123456")


@pytest.fixture
def deleted_files(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many files of the rerun were deleted again."""
    count = 0
    delete = store.delete

    def note(files: Any) -> None:
        nonlocal count
        count += len(list(files))
        delete(files)

    monkeypatch.setattr("async_reply.files.store.delete", note)
    return lambda: count


def test_rerun__of_an_operation_whose_steps_go_in_the_meantime(
    failed: Operation, deleted_files: Callable[[], int]
) -> None:
    OperationStep.of(failed).filter(name="number").delete()
    with pytest.raises(OperationGone):
        services.rerun(failed, from_step=4)
    assert Operation.objects.count() == 1
    assert OperationFile.objects.count() == 1
    assert deleted_files() == 1


def test_rerun__whose_file_cannot_be_copied_stores_nothing(failed: Operation) -> None:
    file = OperationFile.objects.get().file
    file.storage.delete(file.name)
    with pytest.raises(StorageFailed):
        services.rerun(failed, from_step=4)
    assert Operation.objects.count() == 1
