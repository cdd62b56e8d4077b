"""Checks of celery beat's schedule."""

from typing import Any

import pytest
from celery.beat import ScheduleEntry
from celery.schedules import crontab
from django.core.checks import run_checks

from tests.checks.messages import ids
from tests.conftest import configure_celery

SUBMIT = "async_reply.submit"
WHEN = crontab(minute="0")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"task": "tests.project.echo"}, ["async_reply.E043"]),
        ({"task": "tests.project.echo", "kwargs": {"number": 1}}, ["async_reply.E043"]),
        ({"task": SUBMIT, "kwargs": {"kind": "tests.project.echo"}}, []),
        ({"task": SUBMIT, "kwargs": {"kind": "tests.project.echo", "owner": "7"}}, []),
        ({"task": SUBMIT, "args": ("tests.project.echo", {"number": 1})}, []),
        ({"task": SUBMIT}, ["async_reply.E044"]),
        ({"task": SUBMIT, "args": ()}, ["async_reply.E044"]),
        ({"task": SUBMIT, "kwargs": {"kind": "tests.project.eco"}}, ["async_reply.E044"]),
        ({"task": SUBMIT, "kwargs": {"kind": None}}, ["async_reply.E044"]),
        ({"task": SUBMIT, "kwargs": {"kind": "celery.backend_cleanup"}}, ["async_reply.E044"]),
        (
            {"task": SUBMIT, "kwargs": {"kind": "tests.overrun", "input": {"x": 1}}},
            ["async_reply.E044"],
        ),
        (
            {"task": SUBMIT, "kwargs": {"kind": "tests.project.echo", "number": 1}},
            ["async_reply.E044"],
        ),
        ({"task": "celery.backend_cleanup"}, []),
        ({"task": "another.service.task"}, []),
    ],
)
@pytest.mark.parametrize("is_entry", [False, True])
def test_schedule__starts_operations(
    is_entry: bool, entry: dict[str, Any], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Any = {**entry, "schedule": WHEN}
    configure_celery(
        monkeypatch, beat_schedule={"hourly": ScheduleEntry(**made) if is_entry else made}
    )
    assert ids() == expected


def test_schedule__hint_names_the_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"task": SUBMIT, "kwargs": {"kind": "tests.project.eco"}, "schedule": WHEN}
    configure_celery(monkeypatch, beat_schedule={"hourly": entry})
    [message] = run_checks(tags=["async_reply"], databases=[])
    assert "'hourly'" in message.msg
    assert "did you mean 'tests.project.echo'?" in message.msg
