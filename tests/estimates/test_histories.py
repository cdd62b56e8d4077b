"""The durations of a kind's last operations, and those of an estimate key."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from async_reply import conf, lifecycle, services
from async_reply.estimates import histories
from async_reply.models import ESTIMATE_KEY, Operation
from async_reply.services import retention
from async_reply.status import Status
from tests.project.tasks import echo, sized

pytestmark = pytest.mark.django_db

KIND = echo.name
Ran = Callable[..., None]


def rounded(seconds: Sequence[float]) -> list[float]:
    return [round(duration, 3) for duration in seconds]


def test_durations__oldest_first(ran: Ran) -> None:
    ran(3, 1, 2)
    ran(9, kind="another")
    assert rounded(histories.durations(KIND)) == [3, 1, 2]


def test_durations__of_a_job_of_steps_are_those_of_all_its_attempts(ran: Ran) -> None:
    ran(3, 4)
    Operation.objects.update(earlier_seconds=10)
    first = Operation.objects.order_by("finished_at")[:1].get()
    Operation.objects.filter(pk=first.pk).update(steps=2)
    assert rounded(histories.durations(KIND)) == [13, 4]


def test_durations__without_operations(ran: Ran) -> None:
    assert histories.durations(KIND) == ()


def test_durations__need_one_query_in_five_seconds(
    ran: Ran, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ran(3)
    monkeypatch.setattr(histories, "REFRESH_SECONDS", float("inf"))
    with django_assert_num_queries(1):
        first = histories.durations(KIND)
        assert histories.durations(KIND, "a key") == first
    ran(4)
    with django_assert_num_queries(0):
        assert histories.durations(KIND) == first


def test_durations__include_newly_finished_operations(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "REFRESH_SECONDS", 0)
    ran(3)
    assert len(histories.durations(KIND)) == 1
    ran(4)
    assert len(histories.durations(KIND)) == 2


def test_durations__of_jobs_that_ran_to_their_end(ran: Ran) -> None:
    ran(1, status=Status.FAILED)
    ran(2, status=Status.CANCELED)
    services.cancel(services.submit(echo))
    lifecycle.claim(services.submit(echo), worker="w")
    assert rounded(histories.durations(KIND)) == [1]


def test_durations__are_bounded(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "DURATIONS_KEPT", 3)
    ran(1, 2, 3, 4, 5)
    assert rounded(histories.durations(KIND)) == [3, 4, 5]


def test_durations__survive_the_purge(ran: Ran) -> None:
    ran(1, 2)
    past = timezone.now() - timedelta(seconds=1)
    Operation.objects.update(expires_at=past, purge_at=past)
    assert retention.purge() == 2
    assert conf.get("TOMBSTONE") > 0
    assert rounded(histories.durations(KIND)) == [1, 2]


def test_durations__of_a_key_when_there_are_five(ran: Ran) -> None:
    ran(*[50] * 5, reply={ESTIMATE_KEY: "large"})
    ran(*[1] * 4, reply={ESTIMATE_KEY: "small"})
    assert rounded(histories.durations(KIND, "large")) == [50] * 5
    assert len(histories.durations(KIND, "small")) == 9
    assert len(histories.durations(KIND, "never used")) == 9
    assert len(histories.durations(KIND)) == 9


def test_cached__needs_no_query(
    ran: Ran, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ran(3)
    with django_assert_num_queries(0):
        assert histories.cached(KIND) == ()
    histories.durations(KIND)
    with django_assert_num_queries(0):
        assert rounded(histories.cached(KIND)) == [3]


def test_estimate_key__is_stored_with_the_operation() -> None:
    operation = services.submit(sized, input={"rows": 1000}, reply={"status": 201})
    operation.refresh_from_db()
    assert operation.reply == {"status": 201, ESTIMATE_KEY: "4"}


def test_estimate_key__submit_works_when_the_hook_fails(caplog: pytest.LogCaptureFixture) -> None:
    operation = services.submit(sized, input={"rows": 7})
    assert ESTIMATE_KEY not in operation.reply
    assert "get_estimate_key of tests.sized failed" in caplog.text
