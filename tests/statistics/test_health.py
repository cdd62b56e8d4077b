from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from async_reply import services
from async_reply.database import schema
from async_reply.models import KindStatistics, Operation, Worker
from async_reply.statistics import health
from async_reply.statistics.health import ALL, Level, Limits
from tests.project.tasks import echo
from tests.publishing.brokers import read_by, use, use_memory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _broker(monkeypatch: pytest.MonkeyPatch) -> None:
    use_memory(monkeypatch)


def waiting(*, seconds: float, queue: str = "") -> None:
    due_at = timezone.now() - timedelta(seconds=seconds)
    operation = services.submit(echo)
    Operation.objects.filter(pk=operation.pk).update(
        available_at=due_at, published_at=due_at, queue=queue
    )


def problems(parts: Any = ALL, **limits: Any) -> dict[str, Level]:
    state = health.read(parts, Limits(**limits))
    return {problem.text: problem.level for problem in state.problems}


def test_read__idle_system_is_well() -> None:
    read_by("celery")
    state = health.read()
    assert (state.level, state.problems) == (Level.OK, [])
    assert (state.database, state.broker, state.failures) == (True, True, {})


def test_read__asks_only_what_the_caller_names(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    monkeypatch.setattr("async_reply.publishing.broker.answers", pytest.fail)
    with django_assert_num_queries(1):
        assert health.read(["database"]) == health.Health(database=True)


def test_read__no_worker_lives() -> None:
    read_by("celery")
    Worker.objects.update(seen_at=timezone.now() - timedelta(minutes=5))
    assert problems() == {"No worker lives.": Level.CRITICAL}


def test_read__queue_that_no_worker_reads_is_critical_after_a_minute() -> None:
    read_by("celery")
    waiting(seconds=30, queue="gpu")
    assert problems() == {}
    waiting(seconds=90, queue="gpu")
    text = "Queue gpu: operations wait, and no living worker reads it."
    assert problems() == {text: Level.CRITICAL}


@pytest.mark.parametrize(
    ("limit", "level"), [((50, 5000), Level.WARNING), ((5, 50), Level.CRITICAL), (None, None)]
)
def test_read__compares_the_age_of_the_oldest(limit: Any, level: Level | None) -> None:
    read_by("celery")
    waiting(seconds=1000)
    levels = list(problems(oldest=limit and (limit[0] * 10, limit[1] * 10)).values())
    assert levels == ([] if level is None else [level])


def test_read__compares_counts() -> None:
    read_by("celery")
    for _ in range(3):
        waiting(seconds=0)
    assert problems(waiting=(4, 5)) == {}
    assert problems(waiting=(3, 5)) == {"Queue celery: operations that wait: 3.": Level.WARNING}
    KindStatistics.objects.create(kind="a", span="minute", start=timezone.now(), failed=7)
    assert problems(failures=(1, 7)) == {"Operations that failed in an hour: 7.": Level.CRITICAL}


def test_read__compares_the_age_of_the_oldest_unpublished() -> None:
    read_by("celery")
    waiting(seconds=100)
    Operation.objects.update(published_at=None)
    ((text, level),) = problems().items()
    assert "unpublished" in text
    assert level is Level.WARNING


def test_read__warns_of_operations_that_are_released_and_get_no_further() -> None:
    read_by("celery")
    waiting(seconds=0)
    Operation.objects.update(idle_releases=2)
    assert problems() == {}
    Operation.objects.update(idle_releases=3)
    ((text, level),) = problems().items()
    assert text.endswith("get no further: 1.")
    assert level is Level.WARNING
    state = health.read()
    assert "released without getting further: 1" in health.lines(state)
    assert health.document(state)["idle"] == 1


@pytest.mark.parametrize(
    ("seconds", "kinds", "is_told"),
    [
        (90, [["another.kind"]], True),
        (90, [["another.kind"], [echo.name]], False),
        # A worker of an older version does not say what it knows.
        (90, [["another.kind"], []], False),
        (30, [["another.kind"]], False),
    ],
)
def test_read__kind_that_no_worker_knows_is_a_warning_after_a_minute(
    seconds: float, kinds: list[list[str]], is_told: bool
) -> None:
    for names in kinds:
        read_by("celery")
        Worker.objects.filter(pk=Worker.objects.latest("pk").pk).update(kinds=names)
    waiting(seconds=seconds)
    text = f"Queue celery: operations of {echo.name} wait, and no living worker knows this kind."
    assert problems() == ({text: Level.WARNING} if is_told else {})


def test_read__broker_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redis", reason="needs the extra redis")
    read_by("celery")
    use(monkeypatch, "redis://127.0.0.1:1/0")
    assert problems() == {"The broker does not answer.": Level.CRITICAL}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OperationalError("gone"), "The database does not answer."),
        (OperationalError("no such table: async_reply_worker"), schema.REMEDY),
    ],
)
@pytest.mark.parametrize("parts", [ALL, ["queues"]])
def test_read__database_that_is_down(error: Exception, text: str, parts: Any) -> None:
    def refuse(execute: Any, sql: str, *args: Any) -> Any:
        if "no such" in str(error) and "SELECT 1" in sql:
            return execute(sql, *args)
        raise error

    with connection.execute_wrapper(refuse):
        assert problems(parts) == {text: Level.CRITICAL}
        # A database without our tables answers all the same.
        is_answering = (True if parts is ALL else None) if text == schema.REMEDY else False
        assert health.read(parts).database is is_answering


def test_lines__of_a_worker_that_stops() -> None:
    read_by(concurrency=4)
    assert "runs 0 of 4, reads no queue" in "\n".join(health.lines(health.read()))


def test_lines_and_document__have_every_part() -> None:
    read_by("celery", "gpu", concurrency=4)
    waiting(seconds=30, queue="gpu")
    state = health.read()
    text = "\n".join(health.lines(state))
    for part in ("database: answers", "broker: answers", "reads celery,gpu", "runs 0 of 4"):
        assert part in text
    assert "queue gpu: 1 wait, the oldest for 3" in text
    document: Any = health.document(state)
    assert (document["status"], document["failures"]) == ("ok", {})
    assert {queue["name"]: queue["waiting"] for queue in document["queues"]} == {
        "celery": 0,
        "gpu": 1,
    }
    assert [worker["queues"] for worker in document["workers"]] == [["celery", "gpu"]]
