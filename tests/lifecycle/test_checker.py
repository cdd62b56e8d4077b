"""Every interleaving of one operation's actors, over the real functions of `lifecycle`.

No database: `lifecycle._update` is replaced by the interpreter, time is three words. Two
workers and somebody slow (relay, rescuer or client), then one worker and two who are slow, among
others who act at once; messages lost, doubled and late; crashes, zombies, lost answers to COMMIT.
`make checker` has two messages on their way to the two workers at a time.
"""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Least

from async_reply.database.clock import DatabaseNow
from async_reply.status import TRANSITIONS, Status
from tests.lifecycle.checker import Checker
from tests.lifecycle.interpreter import Time, update
from tests.lifecycle.test_state_machine import FULL

ARROWS = {(source, target) for source, targets in TRANSITIONS.items() for target in targets}

#: What must have come up, or the exploration proves less than it says.
TELLING = {
    "beat in vain",
    "cancel in vain",
    "claim in vain",
    "crash",
    "delete",
    "end_canceled in vain",
    "purge",
    "receive unknown kind",
    "release refused",
    "remove tombstone",
    "rescue finds it in time",
    "rescue in vain",
    "retry refused",
    "send fails, hand_back",
    "succeed again in vain, ask",
    "succeed in vain",
    "succeed, answer lost",
}


@pytest.mark.checker
@pytest.mark.parametrize(
    ("workers", "hands", "messages"),
    [
        pytest.param(2, 1, 2 if FULL else 1, id="two-workers"),
        pytest.param(1, 2, 1, id="two-slow-hands"),
    ],
)
def test_lifecycle__keeps_every_rule(workers: int, hands: int, messages: int) -> None:
    found = Checker(workers=workers, hands=hands, messages=messages).explore()
    assert found.dead_ends == 0
    assert found.arrows == ARROWS
    assert found.labels >= TELLING


ROW: dict[str, Any] = {
    "status": Status.RUNNING,
    "retries": 1,
    "max_retries": 1,
    "soon": Time.FUTURE,
    "now": Time.PAST,
    "once": Time.LONG_AGO,
    "never": None,
}


@pytest.mark.parametrize(
    ("guard", "hits"),
    [
        ({}, True),
        ({"retries": 1}, True),
        ({"retries": 2}, False),
        ({"status__in": ["running"]}, True),
        ({"status__in": ["pending", "failed"]}, False),
        ({"retries__lt": F("max_retries")}, False),
        ({"retries__lt": F("max_retries") + 1}, True),
        ({"now__lte": DatabaseNow()}, True),
        ({"soon__lte": DatabaseNow()}, False),
        ({"never__lte": DatabaseNow()}, False),
        ({"never": None}, True),
        ({"now__lte": DatabaseNow() - timedelta(hours=1)}, False),
        ({"once__lte": DatabaseNow() - timedelta(hours=1)}, True),
        ({"retries": 1, "never": 1}, False),
    ],
)
def test_update__guard(guard: dict[str, Any], hits: bool) -> None:
    assert (update(ROW, guard, {}) == ROW) is hits


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("text", "text"),
        (None, None),
        ({"a": 1}, {"a": 1}),
        (F("retries") + 1, 2),
        (DatabaseNow(), Time.PAST),
        (DatabaseNow() + timedelta(seconds=1), Time.FUTURE),
        (DatabaseNow() + timedelta(0), Time.PAST),
        (DatabaseNow() - timedelta(seconds=1), Time.PAST),
        (Least(DatabaseNow(), F("soon")), Time.PAST),
        (Least(DatabaseNow() + timedelta(1), F("once")), Time.LONG_AGO),
    ],
)
def test_update__change(change: Any, expected: Any) -> None:
    assert update(ROW, {}, {"retries": change}) == ROW | {"retries": expected}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"unheard_of": 1}, KeyError),
        ({"soon": Least(DatabaseNow(), F("never"))}, ValueError),
        ({"soon": F("soon") + timedelta(1)}, ValueError),
    ],
)
def test_update__refuses_what_has_no_meaning(
    changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        update(ROW, {}, changes)
