"""The options of a kind, and the functions that can be jobs."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from async_reply.attempts.kinds import Kind


def report(operation: Any, *, year: int, format: str = "csv") -> None: ...


def bare(operation: Any) -> None: ...


def anything(operation: Any, **input: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "values"),
    [
        (report, {"year": 2024}),
        (report, {"year": 2024, "format": "pdf"}),
        (bare, {"from": 1, "year": 2}),
        (anything, {"from": 1}),
        (anything, {}),
    ],
)
def test_check_input__accepts(function: Callable[..., Any], values: dict[str, Any]) -> None:
    Kind(name="k", function=function).check_input(values)


@pytest.mark.parametrize(
    ("function", "values"),
    [
        (report, {}),
        (report, {"year": 1, "month": 2}),
        (report, {"year": 1, "operation": 2}),
        (anything, {"operation": 1}),
    ],
)
def test_check_input__names_the_remedy(
    function: Callable[..., Any], values: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match=r"^k cannot be called with .*get_input"):
        Kind(name="k", function=function).check_input(values)


@pytest.mark.parametrize("retries", [0, 1, 5, 40, 10_000])
def test_delay__is_bounded_after_any_number_of_retries(retries: int) -> None:
    kind = Kind(name="k", function=bare, retry_backoff=True, retry_backoff_max=60)
    assert 0 <= kind.delay(retries) <= min(60, 2 ** min(retries, 10))


def test_delay__differs_with_jitter() -> None:
    kind = Kind(name="k", function=bare, retry_backoff=10)
    assert len({kind.delay(5) for _ in range(20)}) > 1


def test_delay__grows_as_celerys_does() -> None:
    kind = Kind(name="k", function=print, retry_backoff=2, retry_jitter=False)
    assert [kind.delay(retries) for retries in range(3)] == [2, 4, 8]
    assert kind.delay(100) == kind.retry_backoff_max
    assert Kind(name="k", function=print).delay(1) == 180
    assert 0 <= Kind(name="k", function=print, retry_backoff=True).delay(3) <= 8


def test_retries_on__excludes_dont_autoretry_for() -> None:
    kind = Kind(
        name="k", function=print, autoretry_for=(OSError,), dont_autoretry_for=(FileNotFoundError,)
    )
    assert kind.retries_on(OSError())
    assert not kind.retries_on(FileNotFoundError())


def without(year: int) -> None: ...


def by_keyword(*, operation: Any) -> None: ...


def unused(_operation: Any, *, year: int) -> None: ...


def only(operation: Any, /) -> None: ...


def decorated(*args: Any, **kwargs: Any) -> None: ...


async def awaited(operation: Any) -> None: ...


def iterated(operation: Any) -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("function", [unused, only, decorated, bare])
def test_kind__accepts_functions_that_take_the_operation_first(
    function: Callable[..., Any],
) -> None:
    assert Kind(name="k", function=function).function is function


@pytest.mark.parametrize(
    ("function", "remedy"),
    [
        (without, r"write def without\(operation, …\)"),
        (by_keyword, r"write def by_keyword\(operation, …\)"),
        (lambda: None, "does not take the operation first"),
        (awaited, "async_to_sync"),
        (iterated, "return the result"),
    ],
)
def test_kind__refuses_functions_that_cannot_be_jobs(
    function: Callable[..., Any], remedy: str
) -> None:
    with pytest.raises(TypeError, match=remedy):
        Kind(name="k", function=function)


def test_delay__may_be_a_timedelta() -> None:
    kind = Kind(name="k", function=bare, default_retry_delay=timedelta(minutes=1))
    assert kind.delay(0) == 60
    kind_with_maximum = replace(
        kind, retry_backoff=100, retry_backoff_max=timedelta(minutes=1), retry_jitter=False
    )
    assert kind_with_maximum.delay(3) == 60


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("max_retries", None, TypeError),
        ("max_retries", "3", TypeError),
        ("max_retries", True, TypeError),
        ("max_retries", -1, ValueError),
        ("max_retries", 2**31, ValueError),
        ("on_failure", "undo", TypeError),
        ("on_cancel", 7, TypeError),
        ("max_losses", None, TypeError),
        ("max_losses", -1, ValueError),
        ("max_losses", 0.5, TypeError),
        ("time_limit", None, TypeError),
        ("time_limit", 0, ValueError),
        ("time_limit", 0.5, TypeError),
        ("total_time_limit", 0, ValueError),
        ("total_time_limit", 366 * 86400, ValueError),
        ("total_time_limit", 0.5, TypeError),
        ("retention", -1, ValueError),
        ("cancel", "interupt", ValueError),
        ("cancel", None, ValueError),
        ("default_retry_delay", None, TypeError),
        ("default_retry_delay", -1, ValueError),
        ("retry_backoff", "2", TypeError),
        ("retry_backoff_max", float("inf"), ValueError),
    ],
)
def test_kind__refuses_an_option_that_makes_no_sense(
    option: str, value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=option):
        Kind(name="k", function=bare, **{option: value})
