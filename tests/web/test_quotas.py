from contextlib import suppress

import pytest
from pytest_django import Settings

from async_reply import quotas, services
from async_reply.exceptions import QuotaExceeded
from async_reply.models import Operation
from async_reply.testing import run_operations
from tests.project import tasks
from tests.waiting import in_thread

pytestmark = pytest.mark.django_db


def test_check__nobody_and_no_bound(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 1}
    services.submit(tasks.echo, owner="7")
    quotas.check("")
    quotas.check("8")
    with pytest.raises(QuotaExceeded):
        quotas.check("7")
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 0}
    quotas.check("7")


@pytest.mark.parametrize(
    ("bound", "takes_turns"), [(0, False), (2, True), (quotas.NEAR + 1, True), (1000, False)]
)
def test_check__turns_are_taken_near_the_bound(
    settings: Settings, bound: int, takes_turns: bool
) -> None:
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": bound}
    services.submit(tasks.echo, owner="7")
    assert quotas.check("7") is takes_turns


def test_settle__one_too_many_is_not_stored(settings: Settings) -> None:
    """Whoever counted at the same time as another is refused after the insert."""
    settings.ASYNC_REPLY = {"MAX_UNFINISHED": 1}

    def accept() -> services.Submitted:
        return services.accept(tasks.echo, values={}, operation=Operation(owner="7"), bounded=True)

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
    with suppress(QuotaExceeded), quotas.turn("7"):
        services.submit(tasks.echo, owner="7")
        quotas.settle("7")
    assert Operation.objects.count() == bound

    def take() -> None:
        with quotas.turn("7"):
            pass

    with in_thread(take) as taken:
        assert taken.result(quotas.PATIENCE / 2) is None
