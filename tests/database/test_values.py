import datetime as dt
import decimal
import re
from typing import Any

import pytest
from pytest_django import Settings

from async_reply import conf
from async_reply.attempts.kinds import Kind
from async_reply.database import payloads
from async_reply.database.identifiers import uuid7
from async_reply.exceptions import OperationFailed, PayloadError, PayloadTooLarge
from async_reply.protocol import problems
from async_reply.status import ACTIVE, FINAL, TRANSITIONS, UNFINISHED, Status


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), "\x00", "\ud800", b"x", object(), circular(), nested(100_000)],
    ids=["nan", "inf", "nul", "surrogate", "bytes", "object", "circular", "deep"],
)
def test_to_json__refuses_what_a_database_would(value: Any) -> None:
    with pytest.raises(PayloadError):
        payloads.to_json({"a": value})


def test_to_json__plain_values() -> None:
    day, price = dt.date(2026, 11, 23), decimal.Decimal("9.50")
    value = {"day": day, "price": price, "text": "\\u0000 is text"}
    expected = {"day": "2026-11-23", "price": "9.50", "text": "\\u0000 is text"}
    assert payloads.to_json(value) == expected


def test_to_json__bound_is_in_bytes() -> None:
    assert payloads.to_json("éé", limit=6) == "éé"
    with pytest.raises(PayloadTooLarge):
        payloads.to_json("éé", limit=5)


def test_digest__is_canonical() -> None:
    assert payloads.digest({"a": 1, "b": 2}) == payloads.digest({"b": 2, "a": 1})
    assert payloads.digest("a", "b") != payloads.digest("ab")


def test_problem__without_a_name_is_about_blank() -> None:
    made = problems.problem(404, "No.")
    assert (made["type"], made["title"]) == ("about:blank", "Not Found")


@pytest.mark.parametrize(
    ("status", "title"),
    [(429, "Too Many Requests"), (422, "Unprocessable Content"), (419, "Error")],
)
def test_problem__title_is_the_phrase_of_rfc_9110(status: int, title: str) -> None:
    assert problems.problem(status, "No.")["title"] == title


@pytest.mark.parametrize("name", problems.TITLES)
def test_problem__named_ones_have_a_title(name: str, settings: Settings) -> None:
    settings.ASYNC_REPLY = {"PROBLEM_TYPE_PREFIX": "https://example.org/problems/"}
    made = problems.problem(409, "No.", name=name, more=1)
    assert made["type"] == f"https://example.org/problems/{name}"
    assert (made["title"], made["more"]) == (problems.TITLES[name], 1)


def test_failure__has_both_dialects() -> None:
    made = problems.failure("my-code", "No.", status=422)
    assert (made["code"], made["message"], made["detail"]) == ("my-code", "No.", "No.")
    assert made["type"].endswith("/operation-failed")


def test_conf__project_first(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"BATCH": 7}
    assert (conf.get("BATCH"), conf.get("BREAKER")) == (7, 3.0)
    with pytest.raises(KeyError):
        conf.get("NO_SUCH_KEY")


@pytest.mark.parametrize("status", sorted(OperationFailed.RESERVED | {200, 500}))
def test_operation_failed__refuses_statuses_that_mean_something_else(status: int) -> None:
    with pytest.raises(ValueError, match=re.escape(str(status))):
        OperationFailed("no", status_code=status)


def test_status__sets_derive_from_the_table() -> None:
    assert FINAL | UNFINISHED == set(Status) == set(TRANSITIONS)
    assert {Status.RUNNING, Status.CANCELING} == ACTIVE
    assert all(TRANSITIONS[status] for status in UNFINISHED)


def test_kind__delays_as_celery_does() -> None:
    kind = Kind(name="k", function=print, retry_backoff=2, retry_jitter=False)
    assert [kind.delay(retries) for retries in range(3)] == [2, 4, 8]
    assert kind.delay(100) == kind.retry_backoff_max
    assert Kind(name="k", function=print).delay(1) == 180
    assert 0 <= Kind(name="k", function=print, retry_backoff=True).delay(3) <= 8


def test_kind__dont_autoretry_for() -> None:
    kind = Kind(
        name="k", function=print, autoretry_for=(OSError,), dont_autoretry_for=(FileNotFoundError,)
    )
    assert kind.retries_on(OSError())
    assert not kind.retries_on(FileNotFoundError())


def test_uuid7__sorts_by_time() -> None:
    made = [uuid7() for _ in range(100)]
    assert sorted(made) == made
    assert {each.version for each in made} == {7}
