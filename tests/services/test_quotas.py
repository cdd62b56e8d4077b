from concurrent.futures import TimeoutError as NotDone
from contextlib import ExitStack, suppress

import pytest
from django.db import connection, transaction
from pytest_django import Settings
from rest_framework.test import APIClient

from async_reply import services
from async_reply.exceptions import QuotaExceeded
from async_reply.models import Operation
from async_reply.services import quotas
from async_reply.services.quotas import Quota
from async_reply.testing import run_operations
from tests.concurrency import in_thread
from tests.project import tasks

pytestmark = pytest.mark.django_db

SEVEN = Quota("7", view="")


def test_is_near__one_quota_for_each_owner(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 1}
    services.submit(tasks.echo, owner="7")
    Quota("8", view="").is_near()
    for view in ("", "reports"):
        with pytest.raises(QuotaExceeded):
            Quota("7", view=view).is_near()
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 0}
    assert not SEVEN.is_near()


def test_is_near__nameless_callers_of_a_view_share_one_quota(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 1}
    services.submit(tasks.echo, view="reports")
    Quota("", view="exports").is_near()
    with pytest.raises(QuotaExceeded, match="without a name"):
        Quota("", view="reports").is_near()


@pytest.mark.parametrize(
    ("bound", "takes_turns"), [(0, False), (2, True), (quotas.TURNS_BELOW + 1, True), (1000, False)]
)
def test_is_near__turns_are_taken_near_the_bound(
    settings: Settings, bound: int, takes_turns: bool
) -> None:
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": bound}
    services.submit(tasks.echo, owner="7")
    assert SEVEN.is_near() is takes_turns


@pytest.mark.parametrize("quota", [SEVEN, Quota("", view="reports")], ids=["owner", "nameless"])
def test_settle__one_too_many_is_not_stored(settings: Settings, quota: Quota) -> None:
    """Whoever counted at the same time as another is refused after the insert."""
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 1}

    def accept() -> services.Submitted:
        row = Operation(owner=quota.owner, view=quota.view)
        return services.accept(tasks.echo, values={}, operation=row, quota=quota)

    first = accept()
    with pytest.raises(QuotaExceeded):
        accept()
    assert Operation.objects.get() == first.operation
    run_operations()
    accept()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("bound", [1, 2], ids=["refused", "accepted"])
def test_turn__is_over_however_it_ends(settings: Settings, bound: int) -> None:
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": bound}
    services.submit(tasks.echo, owner="7")
    with suppress(QuotaExceeded), SEVEN.turn():
        services.submit(tasks.echo, owner="7")
        SEVEN.check_inserted()
    assert Operation.objects.count() == bound

    with in_thread(take_turn) as taken:
        assert taken.result(quotas.TURN_TIMEOUT_SECONDS / 2) is None


def take_turn() -> None:
    with SEVEN.turn():
        SEVEN.check_inserted()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_turn__lasts_until_the_outermost_transaction_ends(
    settings: Settings, commits: bool
) -> None:
    """With ATOMIC_REQUESTS the view's transaction ends long after the insert."""
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 1}

    def submit() -> None:
        row = Operation(owner="7")
        services.accept(tasks.echo, values={}, operation=row, quota=SEVEN)

    with ExitStack() as threads:
        with transaction.atomic():
            submit()
            other = threads.enter_context(in_thread(submit))
            with pytest.raises(NotDone):
                other.result(0.5)
            transaction.set_rollback(not commits)
        error = other.exception(quotas.TURN_TIMEOUT_SECONDS / 2)
    assert isinstance(error, QuotaExceeded) is commits
    assert Operation.objects.count() == 1


def test_submit__of_nameless_callers_is_bounded(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 3}
    answers = [APIClient().post("/open/", {"number": number}) for number in range(8)]
    assert [answer.status_code for answer in answers] == [202] * 3 + [429] * 5
    assert answers[-1]["Retry-After"] == "5"
    assert Operation.objects.count() == 3
    # Another view of nameless callers has a quota of its own, and those with a name are apart.
    run_operations()
    assert APIClient().post("/open/", {}).status_code == 202
