"""One worker does a shared duty for all, once in each interval."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connections
from django.db.models import F
from pytest_django import DjangoAssertNumQueries

from async_reply.models import Turn
from async_reply.worker import duties, turns
from async_reply.worker.turns import OneForAll

pytestmark = pytest.mark.django_db


def pass_time(seconds: float) -> None:
    Turn.objects.update(due_at=F("due_at") - timedelta(seconds=seconds))


@pytest.fixture
def ran() -> list[str]:
    return []


@pytest.fixture
def worker(ran: list[str]) -> Callable[..., OneForAll]:
    """Makes a worker's function of one duty. It writes the worker's name, and changes rows."""

    def make(name: str, *, changed: int = 0) -> OneForAll:
        def function() -> int:
            ran.append(name)
            return changed

        return OneForAll("sweep", 60, function)

    return make


def test_turn__is_taken_by_one_worker_in_an_interval(
    worker: Callable[..., OneForAll], ran: list[str]
) -> None:
    first, second = worker("first"), worker("second")
    for _ in range(3):
        assert (first(), second()) == (0, 0)
    assert ran == ["first"]
    pass_time(60)
    assert (second(), first()) == (0, 0)
    assert ran == ["first", "second"]


def test_turn__of_a_worker_that_dies_passes_to_another_one(
    worker: Callable[..., OneForAll], ran: list[str]
) -> None:
    def die() -> int:
        raise MemoryError

    with pytest.raises(MemoryError):
        OneForAll("sweep", 60, die)()
    second = worker("second")
    assert (second(), ran) == (0, [])
    pass_time(60)
    assert (second(), ran) == (0, ["second"])


def test_turn__is_kept_after_a_full_batch(worker: Callable[..., OneForAll], ran: list[str]) -> None:
    busy, other = worker("busy", changed=200), worker("other")
    for _ in range(3):
        busy()
        pass_time(40)
        other()
    assert ran == ["busy"] * 3


def test_turn__duties_have_turns_of_their_own() -> None:
    assert turns.take("one", seconds=60)
    assert turns.take("other", seconds=60)
    assert not turns.take("one", seconds=60)


def test_take__costs_others_one_statement(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    assert turns.take("sweep", seconds=60)
    with django_assert_num_queries(1):
        assert not turns.take("sweep", seconds=60)
    pass_time(60)
    with django_assert_num_queries(2):
        assert turns.take("sweep", seconds=60)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_first", [True, False])
def test_take__at_the_same_instant_is_won_by_one(is_first: bool) -> None:
    if not is_first:
        assert turns.take("sweep", seconds=60)
        pass_time(120)
    barrier = Barrier(4)

    def take(_number: int) -> bool:
        barrier.wait()
        try:
            return turns.take("sweep", seconds=60)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        won = sorted(pool.map(take, range(4)))
    assert won == [False] * 3 + [True]


def test_duties__alone_are_done_in_any_case() -> None:
    """A command that an operator calls does what it says, whoever has the turn."""
    for duty in [*duties.delivery(), *duties.cleanup()]:
        assert isinstance(duty.function(), int)
    held = {row.duty: row.due_at for row in Turn.objects.all()}
    assert set(held) == {
        *("republish", "give up", "unserved"),
        *("purge", "orphans", "workers", "statistics"),
    }
    for duty in [*duties.delivery(alone=True), *duties.cleanup(alone=True)]:
        assert not isinstance(duty.function, OneForAll)
        assert isinstance(duty.function(), int)
    assert held == {row.duty: row.due_at for row in Turn.objects.all()}
