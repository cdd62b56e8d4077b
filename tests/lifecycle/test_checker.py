"""Every interleaving of one operation's actors, over the real functions of `lifecycle`.

The interpreter replaces the database behind `lifecycle._update`. There are two workers and one slow
outsider (relay, rescuer or client), or one worker and two slow outsiders. Other outsiders act at
once. Messages are lost, doubled and late, workers crash or become zombies, answers to COMMIT are
lost. `make checker` allows two messages at a time.
"""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Least

from async_reply.database.clock import DatabaseNow
from async_reply.status import TRANSITIONS, Status
from tests.lifecycle.asking import AskingChecker
from tests.lifecycle.checker import Checker
from tests.lifecycle.interpreter import Time, update
from tests.lifecycle.test_state_machine import FULL

ARROWS = {(source, target) for source, targets in TRANSITIONS.items() for target in targets}

#: Steps that must have occurred. Without them the exploration proves too little.
REQUIRED_LABELS = {
    "beat misses",
    "cancel misses",
    "claim misses",
    "crash",
    "delete",
    "end_canceled misses",
    "purge",
    "receive unknown kind",
    "release refused",
    "remove tombstone",
    "rescue within the deadline",
    "rescue misses",
    "retry refused",
    "send fails, hand_back",
    "succeed misses again, read the row",
    "succeed misses",
    "succeed, answer lost",
}


@pytest.mark.checker
@pytest.mark.parametrize(
    ("workers", "outsiders", "messages"),
    [
        pytest.param(2, 1, 2 if FULL else 1, id="two-workers"),
        pytest.param(1, 2, 1, id="two-outsiders"),
    ],
)
def test_lifecycle__keeps_every_rule(workers: int, outsiders: int, messages: int) -> None:
    checker = Checker(workers=workers, outsiders=outsiders, messages=messages, steps=0)
    exploration = checker.explore()
    assert exploration.dead_ends == 0
    assert exploration.arrows == ARROWS
    assert exploration.labels >= REQUIRED_LABELS


@pytest.mark.checker
def test_lifecycle__keeps_every_rule_where_a_step_is_stored() -> None:
    exploration = Checker(workers=1, outsiders=1, messages=1).explore()
    assert exploration.dead_ends == 0
    assert exploration.labels >= {"step", "step misses", "pause", "pause refused"}


@pytest.mark.checker
def test_lifecycle__keeps_every_rule_where_a_job_asks() -> None:
    exploration = AskingChecker(workers=2, outsiders=1, messages=1).explore()
    assert exploration.dead_ends == 0
    assert exploration.labels >= {
        *("ask", "ask refused", "rest", "rest refused", "no answer", "no answer misses"),
        *("answer", "answer misses", "cancel", "rescue", "claim misses", "succeed"),
    }


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
def test_update__refuses_changes_without_a_meaning(
    changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        update(ROW, {}, changes)
