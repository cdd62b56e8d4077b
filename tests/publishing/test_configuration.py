"""Celery's settings are read again when the project has changed one, and not before."""

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, current_app

from async_reply.publishing import configuration
from tests.conftest import configure_celery


def test_current__is_read_once() -> None:
    assert configuration.current() is configuration.current()


def set_item(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    configure_celery(monkeypatch, task_always_eager=True)


def set_attribute(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    celery_settings: Any = current_app.conf
    monkeypatch.setitem(celery_settings.changes, "task_always_eager", None)
    celery_settings.task_always_eager = True


def set_in_django(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.CELERY_TASK_ALWAYS_EAGER = True


def use_another_app(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    other = Celery("other", set_as_current=False)
    other.conf.task_always_eager = True
    monkeypatch.setattr("celery._state._tls.current_app", other)


@pytest.mark.parametrize("change", [set_item, set_attribute, set_in_django, use_another_app])
def test_current__is_read_again_after_a_change(
    monkeypatch: pytest.MonkeyPatch, settings: Any, change: Callable[..., None]
) -> None:
    before = configuration.current()
    change(monkeypatch, settings)
    assert (before.is_eager, configuration.current().is_eager) == (False, True)
