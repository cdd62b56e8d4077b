"""Checks of the project's Celery: its app, kinds and speed. Routes are in tests/publishing."""

import pytest
from celery import current_app
from django.core.checks import run_checks

from async_reply import tasks
from async_reply.checks import celery as celery_checks
from tests.checks.messages import ids
from tests.conftest import configure_celery


def test_celery__without_an_app_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery_checks, "_is_default_app", lambda: True)
    assert ids() == ["async_reply.E001"]


def test_celery__kind_declared_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tasks.registered, "twice", [ids, configure_celery])
    assert ids() == ["async_reply.E004"]


def test_celery__tasks_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks.discover.cache_clear()
    monkeypatch.setattr(current_app.loader, "default_modules", ["tests.nowhere"])
    assert ids() == ["async_reply.E005"]


def test_celery__slow_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_celery(monkeypatch, db_reuse_max=None)
    configure_celery(monkeypatch, worker_prefetch_multiplier=4)
    assert ids() == ["async_reply.W101", "async_reply.W102"]


def test_celery__hint_names_a_setting_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_celery(monkeypatch, worker_prefetch_multiplier=4)
    [message] = run_checks(tags=["async_reply"], databases=[])
    assert "CELERY_WORKER_DISABLE_PREFETCH = True" in str(message.hint)
