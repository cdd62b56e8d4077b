"""The log has one line for each event in the life of an operation, with its fields."""

import logging
from typing import Any

import pytest

from async_reply import lifecycle, services
from async_reply.attempts import giving_up, reports, rescue, runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending
from async_reply.database.clock import after
from async_reply.exceptions import OperationFailed, WorkerStopping
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.publishing import relay
from async_reply.publishing.broker import breaker
from async_reply.services import retention
from async_reply.status import FINAL, Status
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db

EVENTS = list[tuple[str, str, str | None]]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="async_reply")
    return caplog


def events(log: pytest.LogCaptureFixture) -> EVENTS:
    """Level, event and status of each line about an operation since the last call."""
    records: list[Any] = [record for record in log.records if hasattr(record, "event")]
    told = [(record.levelname, record.event, getattr(record, "status", None)) for record in records]
    log.clear()
    return told


def fields(log: pytest.LogCaptureFixture, event: str) -> dict[str, Any]:
    """The attributes of the one record of this event."""
    [record] = [vars(record) for record in log.records if vars(record).get("event") == event]
    return record


def submit(**columns: Any) -> Operation:
    operation = services.submit(echo, owner="7")
    Operation.objects.update(**columns)
    return operation


def run(operation: Operation, job: Any, **options: Any) -> reports.Report:
    kind = Kind(name=echo.name, function=job, **options)
    return runner.run(operation.pk, kind, worker="w", inline=True)


def fail(operation: Job) -> None:
    raise OperationFailed("no more pages")


def stop(operation: Job) -> None:
    operation._claim.interruption = WorkerStopping
    operation.check_canceled()


@pytest.mark.django_db(transaction=True)
def test_log__of_a_submit_and_a_success(log: pytest.LogCaptureFixture) -> None:
    operation = submit()
    run(operation, lambda operation: 7)
    line = fields(log, "finished")
    assert line["message"].startswith(
        f"Operation id={operation.pk} kind=tests.project.echo status=succeeded finished attempt=1 "
    )
    assert {name: line[name] for name in ("id", "kind", "attempt", "owner", "queue")} == {
        "id": str(operation.pk),
        "kind": "tests.project.echo",
        "attempt": 1,
        "owner": "7",
        "queue": "",
    }
    assert 0 <= line["duration"] < 30
    assert fields(log, "submitted")["published"]
    assert events(log) == [
        ("INFO", "submitted", "pending"),
        ("INFO", "claimed", "running"),
        ("INFO", "finished", "succeeded"),
    ]


def test_log__of_a_retry_says_why_and_when(log: pytest.LogCaptureFixture) -> None:
    def job(operation: Job) -> None:
        raise OSError("no\nroute")

    run(submit(max_retries=1), job, autoretry_for=(OSError,), default_retry_delay=40)
    line = fields(log, "retried")
    assert line["reason"] == "OSError: no\\nroute"
    assert 0 < line["delay"] <= 40
    assert f"delay={line['delay']} reason=OSError: no\\nroute" in line["message"]
    assert events(log)[-1] == ("INFO", "retried", "pending")


def test_log__of_a_refusal_has_no_traceback(log: pytest.LogCaptureFixture) -> None:
    run(submit(), fail)
    line = fields(log, "finished")
    assert (line["exc_info"], line["code"]) == (None, "operation-failed")
    assert line["reason"] == "OperationFailed: no more pages"
    assert events(log)[-1] == ("INFO", "finished", "failed")


def test_log__of_a_defect_has_one_traceback(log: pytest.LogCaptureFixture) -> None:
    run(submit(), lambda operation: 1 / 0)
    assert log.text.count("Traceback (most recent call last)") == 1
    assert fields(log, "finished")["code"] == "internal-error"
    assert events(log)[-1] == ("ERROR", "finished", "failed")


def test_log__of_a_stop_and_of_a_late_message(log: pytest.LogCaptureFixture) -> None:
    operation = submit()
    run(operation, stop)
    assert events(log)[-1] == ("INFO", "released", "pending")
    Operation.objects.update(available_at=after(60))
    assert run(operation, lambda operation: 7).ending is Ending.NOT_MINE
    assert events(log) == [("INFO", "not_claimed", None)]


def test_log__of_releases_without_getting_further_warns_once(
    log: pytest.LogCaptureFixture,
) -> None:
    operation = submit()
    for _ in range(5):
        run(operation, stop)
    levels = [level for level, event, _ in events(log) if event == "released"]
    assert levels == ["INFO", "INFO", "WARNING", "INFO", "INFO"]

    def step_and_stop(operation: Job) -> None:
        operation.step(f"step {operation.attempt}", str)
        stop(operation)

    for _ in range(3):
        run(operation, step_and_stop)
    levels = [level for level, event, _ in events(log) if event == "released"]
    assert levels == ["INFO", "INFO", "INFO"]


def test_log__of_a_cancel(log: pytest.LogCaptureFixture) -> None:
    services.cancel(submit())
    assert events(log)[-1] == ("INFO", "finished", "canceled")

    def cancel(operation: Job) -> None:
        services.cancel(Operation.objects.get(pk=operation.id))
        operation.check_canceled()

    run(submit(), cancel)
    assert events(log)[-2:] == [
        ("INFO", "cancel_requested", "canceling"),
        ("INFO", "finished", "canceled"),
    ]


def test_log__of_a_lost_attempt_names_its_worker(log: pytest.LogCaptureFixture) -> None:
    def job(operation: Job) -> None:
        Operation.objects.update(lease_expires_at=after(-1))
        assert rescue.rescue() == 1

    run(submit(), job)
    assert (fields(log, "lost")["worker"], fields(log, "lost")["attempt"]) == ("w", 1)
    assert events(log)[-2:] == [("WARNING", "lost", "pending"), ("INFO", "claim_lost", None)]


def test_log__of_a_rescue_says_whether_the_process_died(log: pytest.LogCaptureFixture) -> None:
    operation = submit()
    operation.refresh_from_db()
    assert lifecycle.claim(operation, worker="w")
    assert rescue.from_dead_process(operation.pk, worker="w", timed_out=False)
    assert fields(log, "lost")["reason"] == "its process ended"


@pytest.mark.parametrize(
    ("columns", "level", "status", "code"),
    [
        ({"max_losses": 0}, "ERROR", "failed", "worker-lost"),
        ({"deadline_at": after(-1)}, "ERROR", "failed", "timed-out"),
        ({"status": Status.CANCELING}, "INFO", "canceled", None),
    ],
    ids=["lost", "timed out", "canceled"],
)
def test_log__of_an_operation_that_ends_without_its_process(
    log: pytest.LogCaptureFixture,
    columns: dict[str, Any],
    level: str,
    status: str,
    code: str | None,
) -> None:
    """An alert on `finished` has to see these failures as well."""
    operation = submit()
    operation.refresh_from_db()
    assert lifecycle.claim(operation, worker="w")
    Operation.objects.update(**{"lease_expires_at": after(-1), **columns})
    assert rescue.rescue() == 1
    finished = fields(log, "finished")
    assert (finished.get("code"), finished["attempt"]) == (code, 1)
    assert events(log)[-2:] == [("WARNING", "lost", status), (level, "finished", status)]


def test_log__of_an_operation_whose_time_is_over(log: pytest.LogCaptureFixture) -> None:
    submit(give_up_at=after(-1))
    assert giving_up.give_up() == 1
    assert fields(log, "finished")["code"] == "timed-out"
    assert events(log)[-1] == ("ERROR", "finished", "failed")


def test_log__of_a_rerun_a_delete_and_a_purge(log: pytest.LogCaptureFixture) -> None:
    operation = submit()
    run(operation, lambda operation: 7)
    operation.refresh_from_db()
    again = services.rerun(operation)
    assert fields(log, "rerun")["rerun"] == str(again.pk)
    services.delete(operation)
    assert events(log)[-1] == ("INFO", "deleted", "succeeded")
    Operation.objects.filter(pk=operation.pk).update(purge_at=after(-1))
    assert retention.purge() == 1
    purged = fields(log, "purged")
    assert (purged["operations"], purged["tombstones"]) == (0, 1)


def test_log__of_a_publish_that_fails(
    log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(operation: Operation) -> None:
        raise OSError("connection refused")

    monkeypatch.setattr("async_reply.publishing.broker.send", refuse)
    submit(published_at=None)
    assert relay.publish_due() == 0
    breaker.reset()
    line = fields(log, "not_published")
    assert (line["reason"], line["delay"]) == ("connection refused", 0)
    assert events(log)[-1] == ("WARNING", "not_published", "pending")


def test_log__reads_no_column_that_was_not_read(
    log: pytest.LogCaptureFixture, django_assert_num_queries: Any
) -> None:
    operation = Operation.objects.only("kind").get(pk=submit().pk)
    with django_assert_num_queries(0):
        reports.log(
            Operation(pk=operation.pk, kind="a"), reports.Report(Ending.CANCELED), duration=1
        )
        logger.event("deleted", operation)
    assert "owner" not in fields(log, "deleted")


def test_reason__of_an_exception_without_a_text_is_its_class() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert reports.reason(Odd()).endswith("Odd")
    assert reports.reason(KeyError()) == "KeyError"


def test_status__of_each_ending() -> None:
    statuses = {ending: reports.Report(ending).status for ending in Ending}
    assert statuses[Ending.NOT_MINE] is None
    assert statuses[Ending.AGAIN] is Status.PENDING
    assert set(statuses.values()) - {None, Status.PENDING} == FINAL
