"""Why a pending operation waits: the cause that an operator is told, and its sentence."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from async_reply import lifecycle, services
from async_reply.estimates import backlogs, reasons
from async_reply.estimates.reasons import Cause, Facts
from async_reply.models import Operation, Worker
from async_reply.publishing import broker
from async_reply.publishing.broker import breaker
from tests.project.tasks import echo

MOMENT = datetime(2026, 7, 1, 12, tzinfo=UTC)
SERVED = Facts(
    kind="reports.export",
    queue="gpu",
    available_at=MOMENT,
    due_in_seconds=-10.0,
    published_at=MOMENT,
    ahead=3,
    waiting=12,
    starts_in_seconds=41.0,
)
EXPLAINED: list[tuple[dict[str, Any], Cause, str]] = [
    ({}, Cause.QUEUED, 'It is number 4 of 12 in the queue "gpu" and starts in about 41 s.'),
    ({"starts_in_seconds": None}, Cause.QUEUED, 'It is number 4 of 12 in the queue "gpu".'),
    # Jobs that hang hold all processes, and nobody knows for how long.
    (
        {"due_in_seconds": -360.0, "starts_in_seconds": 0.0, "ahead": 0},
        Cause.QUEUED,
        'It is number 1 of 12 in the queue "gpu".',
    ),
    (
        {"is_exact": False, "waiting": 1000, "idle": 9},
        Cause.QUEUED,
        'More than 1000 operations wait. It is in the queue "gpu".',
    ),
    (
        {"idle": 4},
        Cause.NEXT,
        'A worker of the queue "gpu" has a free process and should start it at once.',
    ),
    (
        {"published_at": None},
        Cause.NOT_SENT,
        "Its message is not sent yet: a worker sends it within seconds.",
    ),
    (
        {"published_at": None, "broker_down_since": MOMENT},
        Cause.BROKER_DOWN,
        "The broker cannot be reached since 2026-07-01 12:00:00.",
    ),
    # Its message was sent before the outage, and nobody has tried to send another one since.
    ({"is_broker_silent": True}, Cause.BROKER_DOWN, "The broker does not answer."),
    (
        {"is_kind_known": False, "published_at": None, "broker_down_since": MOMENT},
        Cause.UNKNOWN_KIND,
        'Its kind "reports.export" is unknown to every living worker of the queue "gpu".',
    ),
    (
        {"is_served": False, "is_kind_known": False},
        Cause.UNSERVED_QUEUE,
        'It is in the queue "gpu", which no living worker reads.',
    ),
    (
        {"has_workers": False, "is_served": False},
        Cause.NO_WORKER,
        "No worker lives: start one, or look why the workers stopped.",
    ),
    (
        {"due_in_seconds": 3600.0, "has_workers": False},
        Cause.NOT_DUE,
        "It is not due until 2026-07-01 12:00:00, in 60 min.",
    ),
    (
        {"due_in_seconds": 3600.0, "is_asleep": True},
        Cause.ASLEEP,
        "Its job sleeps until 2026-07-01 12:00:00, for another 60 min.",
    ),
    (
        {"due_in_seconds": 3600.0, "is_asked": True},
        Cause.ASKED,
        "Its job waits for an answer until 2026-07-01 12:00:00, for another 60 min.",
    ),
]


@pytest.mark.parametrize(("changes", "cause", "sentence"), EXPLAINED)
def test_explain__tells_the_first_cause(
    changes: dict[str, Any], cause: Cause, sentence: str
) -> None:
    reason = reasons.explain(replace(SERVED, **changes))
    assert (reason.cause, reason.sentence.replace("\N{NO-BREAK SPACE}", " ")) == (cause, sentence)


def test_explain__knows_a_sentence_for_each_cause() -> None:
    assert {cause for _changes, cause, _sentence in EXPLAINED} == set(Cause)


def test_explain__forgives_a_message_that_is_late_by_a_moment() -> None:
    """A submit during an outage may be due for a second when another worker has sent it."""
    just_now = replace(
        SERVED, published_at=None, broker_down_since=MOMENT, due_in_seconds=-reasons.LATE_SECONDS
    )
    assert reasons.explain(just_now).cause is Cause.NOT_SENT


@pytest.fixture
def operation(db: None, monkeypatch: pytest.MonkeyPatch) -> Operation:
    monkeypatch.setattr(backlogs, "REFRESH_SECONDS", 0)
    return services.submit(echo)


def why(operation: Operation) -> Cause | None:
    operation.refresh_from_db()
    reason = reasons.why_pending(operation)
    return None if reason is None else reason.cause


def live(**fields: Any) -> Worker:
    values = {"name": "w1", "concurrency": 1, "queues": ["celery"], "kinds": [echo.name]}
    worker: Worker = Worker.objects.create(**{**values, **fields})
    return worker


def test_why_pending__follows_an_operation_to_its_start(operation: Operation) -> None:
    Operation.objects.update(available_at=timezone.now() + timedelta(hours=1))
    assert why(operation) is Cause.NOT_DUE
    Operation.objects.update(available_at=timezone.now() - timedelta(minutes=1))
    assert why(operation) is Cause.NO_WORKER
    other = live(name="w2", queues=["gpu"])
    assert why(operation) is Cause.UNSERVED_QUEUE
    stale = live(kinds=["tests.older"])
    assert why(operation) is Cause.UNKNOWN_KIND
    Worker.objects.exclude(pk__in=[other.pk, stale.pk]).delete()
    live(name="w3")
    assert why(operation) is Cause.NEXT
    Operation.objects.update(published_at=None)
    assert why(operation) is Cause.NOT_SENT
    Worker.objects.update(broker_down_since=timezone.now())
    assert why(operation) is Cause.BROKER_DOWN
    assert lifecycle.claim(operation, worker="w3/1")
    assert why(operation) is None


def test_why_pending__of_a_worker_that_has_not_said_its_kinds(operation: Operation) -> None:
    live(kinds=["tests.older"])
    live(kinds=[])
    assert why(operation) is Cause.NEXT


def test_why_pending__counts_operations_before_it(operation: Operation) -> None:
    live(concurrency=1)
    for _ in range(2):
        last = services.submit(echo)
    reason = reasons.why_pending(last)
    assert reason is not None
    assert reason.sentence.startswith('It is number 3 of 3 in the queue "celery"')


def test_why_pending__knows_of_an_outage_by_this_process(operation: Operation) -> None:
    live()
    Operation.objects.update(published_at=None, available_at=timezone.now() - timedelta(minutes=1))
    breaker.trip()
    assert why(operation) is Cause.BROKER_DOWN
    breaker.reset()
    assert why(operation) is Cause.NOT_SENT


def test_why_pending__asks_the_broker_about_a_message_that_was_sent(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    live()
    monkeypatch.setattr(broker, "answers", lambda: False)
    assert why(operation) is Cause.NEXT  # it was submitted just now
    Operation.objects.update(available_at=timezone.now() - timedelta(minutes=1))
    assert why(operation) is Cause.BROKER_DOWN
    monkeypatch.setattr(broker, "answers", lambda: True)
    assert why(operation) is Cause.NEXT


def test_why_pending__takes_five_queries(
    operation: Operation, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    # Waiting, running, workers of the backlog; workers with their kinds; durations of the kind.
    monkeypatch.setattr(backlogs, "REFRESH_SECONDS", 60)
    live()
    last = services.submit(echo)
    with django_assert_num_queries(5):
        reasons.why_pending(last)
