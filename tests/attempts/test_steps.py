"""Steps of a job: run once, stored, and returned again by later attempts."""

import threading
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from async_reply import columns, lifecycle, services
from async_reply.attempts import claims, outages, rescue, step_storage, steps
from async_reply.attempts.jobs import Job
from async_reply.attempts.reports import Ending
from async_reply.database.clock import after
from async_reply.exceptions import (
    ClaimLost,
    DatabaseAway,
    PayloadError,
    PayloadTooLarge,
    StepFailed,
    StepRefused,
    WorkerStopping,
)
from async_reply.models import Operation, OperationFile, OperationStep
from async_reply.services import retention
from async_reply.status import Status
from tests.attempts.scripts import Script
from tests.project.tasks import echo

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("one_statement")]


def called(calls: list[str], name: str, value: Any = ...) -> Any:
    """Note the call, and return `value`, or the name."""
    calls.append(name)
    return name if value is ... else value


def once_broken(job: Job, calls: list[str], *names: str) -> list[Any]:
    """Store the steps `names`, then break in the first attempt."""
    values = [job.step(name, called, calls, name) for name in names]
    if job.attempt == 1:
        raise OSError("broken")
    return values


def test_step__is_run_once_in_all_attempts() -> None:
    script = Script(lambda job, calls: once_broken(job, calls, "a", "b"))
    assert script.attempt().ending is Ending.AGAIN
    assert script.attempt().ending is Ending.SUCCEEDED
    assert script.calls == ["a", "b"]
    assert script.operation.result.value == ["a", "b"]
    rows = OperationStep.of(script.operation).values_list("name", "ordinal", "attempt", "value")
    assert list(rows) == [("a", 1, 1, '"a"'), ("b", 2, 1, '"b"')]
    assert script.operation.steps == 2


VALUES = [
    {"z": 1, "a": [1, 2.0]},
    [1e20, -0.0, 10**30],
    (1, 2),
    None,
    "",
    {1: "number"},
    "Grüße ☃",
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_step__returns_the_stored_form_from_the_first_attempt_on(value: Any) -> None:
    seen: list[str] = []

    def job(job: Job, calls: list[str]) -> None:
        returned = job.step("a", lambda: value)
        seen.append(repr(returned))
        if isinstance(returned, dict):
            returned["changed"] = True
        if job.attempt == 1:
            raise OSError

    script = Script(job)
    script.attempt()
    script.attempt()
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (object(), PayloadError),
        (float("nan"), PayloadError),
        ("\x00", PayloadError),
        ("x" * 2**20, PayloadTooLarge),
    ],
    ids=["object", "nan", "nul", "large"],
)
def test_step__value_that_cannot_be_stored_fails_the_attempt(
    value: Any, error: type[Exception]
) -> None:
    script = Script(lambda job, calls: job.step("a", lambda: value))
    report = script.attempt()
    assert report.ending is Ending.FAILED
    assert isinstance(report.error, error)
    assert not OperationStep.objects.exists()


def test_step__result_of_the_job_is_no_value() -> None:
    script = Script(lambda job, calls: job.step("a", job.created, "thing", number=7))
    assert isinstance(script.attempt().error, PayloadError)


def test_step__file_is_opened_by_each_attempt() -> None:
    handles = []

    def job(job: Job, calls: list[str]) -> str:
        handle = job.step("report", lambda: called(calls, "r", job.file(b"a;b", name="r.csv")))
        handles.append(handle)
        text: str = handle.read().decode()
        if job.attempt == 1:
            raise OSError
        return text

    script = Script(job)
    script.attempt()
    assert script.attempt().ending is Ending.SUCCEEDED
    assert (script.calls, script.operation.result.value) == (["r"], "a;b")
    assert all(handle.closed for handle in handles)
    row = OperationFile.objects.get()
    assert row.role == OperationFile.Role.STEP
    assert OperationStep.objects.get().file == row


class PayError(Exception):
    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"refused with {code}")
        self.code = code
        self.reason = reason
        self.response = object()


class Declined(PayError):
    pass


@pytest.mark.parametrize("stores", [PayError, (KeyError, PayError), (Exception,)])
def test_step__stored_exception_is_raised_the_same_again(stores: Any) -> None:
    seen = []

    def pay(calls: list[str]) -> None:
        calls.append("pay")
        raise Declined(7, reason="no cover")

    def job(job: Job, calls: list[str]) -> str:
        with pytest.raises(Declined) as caught:
            job.step("pay", pay, calls, stores=stores)
        seen.append((type(caught.value), caught.value.args, vars(caught.value)))
        job.step("cancel the order", calls.append, "cancel")
        if job.attempt == 1:
            raise OSError
        return "canceled"

    script = Script(job)
    script.attempt()
    assert script.attempt().ending is Ending.SUCCEEDED
    assert script.calls == ["pay", "cancel"]
    assert seen == [(Declined, ("refused with 7",), {"code": 7, "reason": "no cover"})] * 2


@pytest.mark.parametrize(
    ("messages", "shown"),
    [
        ("bad", ["bad"]),
        (["bad", "worse"], ["bad", "worse"]),
        ({"year": ["bad"]}, ["bad"]),
    ],
)
def test_step__stored_validation_error_of_django_keeps_its_messages(
    messages: Any, shown: list[str]
) -> None:
    """It keeps them in attributes that are not JSON."""
    seen = []

    def check() -> None:
        raise ValidationError(messages)

    def job(job: Job, calls: list[str]) -> None:
        with pytest.raises(ValidationError) as caught:
            job.step("check", check, stores=ValidationError)
        seen.append((caught.value.messages, str(caught.value)))
        if job.attempt == 1:
            raise OSError

    script = Script(job)
    script.attempt()
    assert script.attempt().ending is Ending.SUCCEEDED
    assert seen == [(shown, str(ValidationError(messages)))] * 2


def test_step__exception_that_its_arguments_do_not_make_again_says_so() -> None:
    def fail() -> None:
        raise ExceptionGroup("some", [ValueError(1)])

    script = Script(lambda job, calls: job.step("a", fail, stores=(Exception,)))
    report = script.attempt()
    assert report.ending is Ending.FAILED
    assert isinstance(report.error, StepFailed)
    assert "raise another exception" in str(report.error)


def test_step__stored_exception_that_nobody_names_any_more_fails() -> None:
    def job(job: Job, calls: list[str]) -> None:
        stores = (ValueError,) if job.attempt == 1 else ()
        try:
            job.step("a", int, "x", stores=stores)
        except ValueError as error:
            raise OSError from error

    script = Script(job)
    script.attempt()
    report = script.attempt()
    assert report.ending is Ending.FAILED
    assert "builtins.ValueError" in str(report.error)


@pytest.mark.parametrize("goes_on", [True, False])
def test_step__failure_that_is_not_stored_is_no_fact(goes_on: bool) -> None:
    """The job caught it: it begins no other step, and does not succeed."""

    def job(job: Job, calls: list[str]) -> str:
        try:
            job.step("pay", int, "x")
        except ValueError:
            if goes_on:
                job.step("cancel the order", calls.append, "cancel")
        return "canceled"

    script = Script(job)
    report = script.attempt()
    assert report.ending is Ending.FAILED
    assert isinstance(report.error, StepFailed)
    assert "stores=(…)" in str(report.error)
    assert isinstance(report.error.__cause__, ValueError)
    assert script.calls == []


def test_step__failure_inside_another_step_is_not_stored_by_it() -> None:
    def outer(job: Job) -> None:
        job.step("inner", int, "x")

    script = Script(lambda job, calls: job.step("outer", outer, job, stores=(ValueError,)))
    assert isinstance(script.attempt().error, ValueError)
    assert not OperationStep.objects.exists()


def test_step__inside_another_step_is_stored_by_itself() -> None:
    def outer(job: Job) -> list[Any]:
        return [job.step("inner", lambda: 1)]

    script = Script(lambda job, calls: job.step("outer", outer, job))
    assert script.attempt().ending is Ending.SUCCEEDED
    assert [step.name for step in OperationStep.of(script.operation)] == ["inner", "outer"]


def test_step__timeout_of_the_pool_is_never_stored() -> None:
    class SoftTimeLimit(Exception):
        pass

    def function() -> None:
        raise SoftTimeLimit

    script = Script(
        lambda job, calls: job.step("a", function, stores=(Exception,)), timeouts=(SoftTimeLimit,)
    )
    script.attempt()
    assert (script.operation.error or {})["code"] == "timed-out"
    assert not OperationStep.objects.exists()


@pytest.mark.parametrize("stores", [ClaimLost, (BaseException,), ("ValueError",), "x"])
def test_step__stores_takes_exceptions_only(stores: Any) -> None:
    script = Script(lambda job, calls: job.step("a", int, "1", stores=stores))
    assert isinstance(script.attempt().error, TypeError)


@pytest.mark.parametrize(
    ("name", "error"),
    [("", ValueError), ("x" * 201, ValueError), ("a\nb", ValueError), (7, TypeError)],
)
def test_step__name_is_checked(name: Any, error: type[Exception]) -> None:
    script = Script(lambda job, calls: job.step(name, calls.append, "a"))
    assert isinstance(script.attempt().error, error)
    assert script.calls == []


def test_step__name_is_used_once_in_an_attempt() -> None:
    script = Script(lambda job, calls: [job.step("a", calls.append, name) for name in "xy"])
    assert isinstance(script.attempt().error, StepRefused)
    assert script.calls == ["x"]


@pytest.mark.parametrize("strict", [False, True])
def test_step__other_arguments_are_told(strict: bool, caplog: pytest.LogCaptureFixture) -> None:
    def job(job: Job, calls: list[str]) -> Any:
        value = job.step("a", "{}".format, job.attempt, strict=strict)
        job.step("same", "{}".format, 7, strict=True)
        job.step("not JSON", "{}".format, object(), strict=True)
        if job.attempt == 1:
            raise OSError
        return value

    script = Script(job)
    script.attempt()
    report = script.attempt()
    if strict:
        assert isinstance(report.error, StepFailed)
        assert "other arguments" in str(report.error)
    else:
        assert script.operation.result.value == "1"
        assert "the step 'a' was stored in attempt 1 for other arguments" in caplog.text


def test_step__number_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MAX_STEPS", 2)
    script = Script(lambda job, calls: [job.step(name, calls.append, name) for name in "abc"])
    assert isinstance(script.attempt().error, StepRefused)
    assert script.calls == ["a", "b"]


def test_step__bytes_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MAX_BYTES", 10)

    def job(job: Job, calls: list[str]) -> None:
        job.step(f"a{job.attempt}", lambda: "xxxxx")
        raise OSError

    script = Script(job)
    assert isinstance(script.attempt().error, OSError)
    assert isinstance(script.attempt().error, PayloadTooLarge)


def test_step__is_refused_inside_a_transaction_of_the_job() -> None:
    def job(job: Job, calls: list[str]) -> None:
        with transaction.atomic():
            job.step("a", calls.append, "a")

    script = Script(job)
    report = script.attempt()
    assert isinstance(report.error, StepRefused)
    assert "default" in str(report.error)
    assert script.calls == []


def test_step__is_refused_after_the_job_has_returned() -> None:
    handles: list[Job] = []
    script = Script(lambda job, calls: handles.append(job))
    script.attempt()
    with pytest.raises(StepRefused, match="over"):
        handles[0].step("a", int)


def test_step__is_refused_in_on_finish() -> None:
    script = Script(lambda job, calls: job.on_finish(lambda: job.step("a", int)))
    assert isinstance(script.attempt().error, StepRefused)


def test_step__is_refused_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    claim = claims.Claim(operation, inline=True)
    monkeypatch.setattr(claim, "pid", claim.pid + 1)
    with pytest.raises(StepRefused, match="another process"):
        Job(operation, claim).step("a", int)


def test_step__gives_back_the_budgets() -> None:
    def job(job: Job, calls: list[str]) -> None:
        job.step(f"step {job.attempt}", int)
        raise OSError

    script = Script(job, max_retries=1)
    Operation.objects.update(losses=2, idle_releases=2)
    for _ in range(5):
        assert script.attempt().ending is Ending.AGAIN
    assert (script.operation.retries, script.operation.losses) == (1, 0)
    assert script.operation.idle_releases == 0


def test_step__attempts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    def job(job: Job, calls: list[str]) -> None:
        job.step(f"step {job.attempt}", int)
        raise OSError

    monkeypatch.setattr(columns, "MAX_ATTEMPTS", 3)
    script = Script(job, max_retries=1)
    assert [script.attempt().ending for _ in range(3)][1:] == [Ending.AGAIN, Ending.FAILED]


def test_rescue__attempts_with_steps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(lambda job, calls: None)
    assert lifecycle.claim(Operation.objects.get(), worker="w1")
    Operation.objects.update(steps=1, attempt=columns.MAX_ATTEMPTS)
    assert lifecycle.expire_lease(script.operation.pk, worker="w1", timed_out=False)
    assert rescue.rescue() == 1
    assert Operation.objects.get().status == Status.FAILED


@pytest.mark.parametrize(("has_step", "progress"), [(True, 40), (False, None)])
def test_claim__keeps_progress_where_there_are_steps(has_step: bool, progress: int | None) -> None:
    def job(job: Job, calls: list[str]) -> None:
        row = Operation.objects.get()
        if job.attempt > 1:
            assert (row.progress, row.message) == (progress, "half" if has_step else "")
        job.progress(40, message="half")
        if has_step and job.attempt == 1:
            job.step("a", int)
            row.refresh_from_db()
            assert (row.progress, row.message) == (40, "half")
        if job.attempt == 1:
            raise OSError

    script = Script(job)
    script.attempt()
    assert script.attempt().ending is Ending.SUCCEEDED


def test_step__shows_progress_with_a_new_version() -> None:
    versions: list[int] = []

    def job(job: Job, calls: list[str]) -> None:
        job._claim.progress = (50, "", 0, None)
        for name in "ab":
            job.step(name, int)
            versions.append(Operation.objects.get().version)

    Script(job).attempt()
    assert versions == [3, 3]
    assert Operation.objects.get().progress == 100


def lose_claim(operation: Operation) -> None:
    """Another worker rescues and claims the operation."""
    Operation.objects.update(status=Status.PENDING)
    assert lifecycle.claim(Operation.objects.get(), worker="w2")


def test_step__of_a_lost_attempt_is_not_stored() -> None:
    script = Script(lambda job, calls: job.step("a", lose_claim, script.operation))
    assert script.attempt().ending is Ending.NOT_MINE
    assert not OperationStep.objects.exists()
    assert script.operation.steps == 0


def test_step__of_a_lost_attempt_does_not_begin() -> None:
    def job(job: Job, calls: list[str]) -> None:
        lose_claim(script.operation)
        job.step("a", calls.append, "a")

    script = Script(job)
    assert script.attempt().ending is Ending.NOT_MINE
    assert script.calls == []


def test_step__cancel_is_heard_after_the_row() -> None:
    script = Script(
        lambda job, calls: job.step("a", lambda: services.cancel(Operation.objects.get()) and None)
    )
    assert script.attempt().ending is Ending.CANCELED
    assert OperationStep.objects.get().name == "a"


def test_step__interruption_that_the_job_swallows_ends_the_attempt() -> None:
    """It came between the function and the row, so that the outcome is not known."""

    def function() -> None:
        raise WorkerStopping

    def job(job: Job, calls: list[str]) -> None:
        try:
            job.step("a", function)
        except WorkerStopping:
            calls.append("swallowed")

    script = Script(job)
    assert isinstance(script.attempt().error, WorkerStopping)
    assert script.operation.status != Status.SUCCEEDED


def test_step__frozen_process_looks_at_the_row_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing beats for it, as in a process that was frozen."""
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    claim = claims.Claim(operation, inline=False)
    calls: list[str] = []
    job = Job(operation, claim)
    job.step("fresh", calls.append, "fresh")
    claim._seen_at = float("-inf")
    lease_before = Operation.objects.get().lease_expires_at
    job.step("late", calls.append, "late")
    assert Operation.objects.get().lease_expires_at >= lease_before
    lose_claim(operation)
    job._claim._seen_at = float("-inf")
    with pytest.raises(ClaimLost):
        job.step("lost", calls.append, "lost")
    assert calls == ["fresh", "late"]


def test_step__beat_skips_a_claim_that_stores() -> None:
    """The heart beats for other claims too, and a step may wait for its database."""
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    claim = claims.Claim(operation, inline=True)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with claim.lock:
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(10)
        claim.progress = (50, "", 0, None)
        claim.beat((Status.RUNNING, 1, 0))
        assert Operation.objects.get().progress is None
    finally:
        done.set()
        thread.join()
    claim.beat((Status.RUNNING, 1, 0))
    assert Operation.objects.get().progress == 50


def break_commit(monkeypatch: pytest.MonkeyPatch, *, stored: bool, times: float = 1) -> None:
    """The next COMMITs of steps end in an error. `stored`: they are committed nevertheless."""
    write = step_storage.write_once
    tries: list[OperationStep] = []

    def broken(operation: Operation, row: OperationStep, unsaved: Any) -> bool:
        tries.append(row)
        if len(tries) > times:
            return write(operation, row, unsaved)
        if stored:
            assert write(operation, row, unsaved)
        raise OperationalError("away")

    monkeypatch.setattr(step_storage, "write_once", broken)
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)


@pytest.fixture
def job() -> Job:
    """The handle of an attempt for which nothing beats."""
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w1")
    return Job(operation, claims.Claim(operation, inline=False))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_file", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_step__after_an_error_at_commit_is_stored_once(
    job: Job, stored: bool, is_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_commit(monkeypatch, stored=stored)
    calls: list[str] = []
    job.step("a", lambda: called(calls, "a", job.file(b"x", name="x") if is_file else 7))
    row = Operation.objects.get()
    assert (calls, row.steps, OperationStep.objects.count()) == (["a"], 1, 1)
    assert OperationFile.objects.count() == is_file
    job.close()


@pytest.mark.django_db(transaction=True)
def test_step__ends_the_attempt_when_the_database_stays_away(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_commit(monkeypatch, stored=False, times=float("inf"))
    monkeypatch.setattr(outages, "lease_seconds", lambda: 0)
    with pytest.raises(DatabaseAway):
        job.step("a", int)
    with pytest.raises(DatabaseAway):
        job.step("b", int)
    with pytest.raises(DatabaseAway):
        job.end()


@pytest.mark.django_db(transaction=True)
def test_step__may_run_in_threads(job: Job) -> None:
    """Each thread has a connection of its own, without the transactions of the job's thread."""
    if connection.vendor == "sqlite" and connection.settings_dict["NAME"] == ":memory:":
        pytest.skip("threads share no database in memory")
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            job.step(f"step {number}", int, number)
            with transaction.atomic(), pytest.raises(StepRefused):
                job.step("in a transaction", int)
        except BaseException as error:  # noqa: BLE001 pytest fails by one
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    rows = OperationStep.objects.order_by("ordinal").values_list("ordinal", flat=True)
    assert list(rows) == [1, 2, 3, 4]


@pytest.mark.parametrize(("has_steps", "statements"), [(False, 0), (True, 1)])
def test_step__reads_earlier_ones_with_one_statement(
    has_steps: bool, statements: int, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_steps:
        for name in "ab":
            job.step(name, int)
    operation = Operation.objects.get()
    later = Job(operation, claims.Claim(operation, inline=False))
    monkeypatch.setattr(lifecycle, "store_step", lambda *args, **options: True)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        for name in "abc":
            later.step(name, int)
    selects = [query for query in queries if query["sql"].startswith("SELECT")]
    assert len(selects) == statements


def test_step__costs_its_own_statements_only(job: Job, one_statement: bool) -> None:
    with CaptureQueriesContext(connection) as queries:
        job.step("a", int)
    written = [query["sql"].split()[0] for query in queries]
    if one_statement:
        assert written == ["WITH"]
    else:
        assert [word for word in written if word in ("UPDATE", "INSERT", "SELECT")] == [
            "UPDATE",
            "INSERT",
        ]


@pytest.mark.parametrize("only_expired", [False, True])
def test_purge__deletes_steps_and_their_files(only_expired: bool) -> None:
    def job(job: Job, calls: list[str]) -> None:
        job.step("a", int)
        job.step("b", job.file, b"x", name="x")

    script = Script(job)
    script.attempt()
    file = OperationFile.objects.get().file
    assert file.storage.exists(file.name)
    if only_expired:
        Operation.objects.update(purge_at=after(-1), expires_at=after(-1))
        retention.purge()
    else:
        services.delete(script.operation)
    assert not OperationStep.objects.exists()
    assert not OperationFile.objects.exists()
    Operation.objects.update(purge_at=after(-1))
    retention.purge()
    assert not Operation.objects.exists()


def write_note(text: str) -> str:
    Group.objects.create(name=text)
    return text


def test_atomic_step__writes_are_committed_with_the_step() -> None:
    def job(job: Job, calls: list[str]) -> None:
        job.step("a", write_note, "a", atomic=True)
        if job.attempt == 1:
            raise OSError

    script = Script(job)
    script.attempt()
    assert script.attempt().ending is Ending.SUCCEEDED
    assert Group.objects.count() == script.operation.steps == 1


@pytest.mark.parametrize("stores", [(), (ValueError,)])
def test_atomic_step__writes_are_rolled_back_after_an_exception(stores: Any) -> None:
    def function() -> None:
        write_note("a")
        raise ValueError("refused")

    script = Script(lambda job, calls: job.step("a", function, atomic=True, stores=stores))
    assert isinstance(script.attempt().error, ValueError)
    assert not Group.objects.exists()
    assert OperationStep.objects.count() == len(stores)


def test_atomic_step__writes_of_a_lost_attempt_are_rolled_back() -> None:
    def function() -> None:
        write_note("a")
        Operation.objects.update(attempt=7)

    script = Script(lambda job, calls: job.step("a", function, atomic=True))
    assert script.attempt().ending is not Ending.SUCCEEDED
    assert not Group.objects.exists()
    assert not OperationStep.objects.exists()


def test_atomic_step__takes_no_step_inside() -> None:
    script = Script(
        lambda job, calls: job.step("a", lambda: job.step("b", calls.append, "b"), atomic=True)
    )
    assert isinstance(script.attempt().error, StepRefused)
    assert script.calls == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("stored", [False, True])
def test_atomic_step__error_in_its_transaction_runs_it_again(
    job: Job, stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`stored`: the error hid that the transaction was committed."""
    once, tries = step_storage._once, []

    def broken(*args: Any) -> Any:
        tries.append(1)
        if len(tries) > 1:
            return once(*args)
        if stored:
            once(*args)
            job._operation.steps -= 1  # the attempt does not know of the commit
        else:
            with transaction.atomic():
                write_note("rolled back")
                transaction.set_rollback(True)
        raise OperationalError("away")

    monkeypatch.setattr(step_storage, "_once", broken)
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)
    job.step("a", write_note, "a", atomic=True)
    job.step("b", write_note, "b", atomic=True)
    assert [group.name for group in Group.objects.order_by("pk")] == ["a", "b"]
    assert list(OperationStep.objects.values_list("ordinal", flat=True)) == [1, 2]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("error", "raised"),
    [(OperationalError("away"), DatabaseAway), (IntegrityError("taken"), IntegrityError)],
)
def test_atomic_step__error_that_stays_ends_the_attempt(
    job: Job, error: Exception, raised: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_storage, "lease_seconds", lambda: 0)
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0)

    def function() -> None:
        write_note("a")
        raise error

    with pytest.raises(raised):
        job.step("a", function, atomic=True)
    assert not Group.objects.exists()
