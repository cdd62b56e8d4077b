from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AbstractBaseUser
from pytest_django import Settings
from rest_framework.test import APIClient

from async_reply import lifecycle, services
from async_reply.estimates import backlogs, histories
from async_reply.models import Operation
from async_reply.testing import run_operations
from tests.project.tasks import echo


@pytest.fixture
def api(user: AbstractBaseUser, client_of: Callable[..., APIClient]) -> APIClient:
    """A client that speaks for `user`."""
    return client_of(user)


@pytest.fixture
def _knowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process reads for its estimates stays good for the test, however slow that is."""
    monkeypatch.setattr(histories, "REFRESH", float("inf"))
    monkeypatch.setattr(backlogs, "REFRESH", float("inf"))


@pytest.fixture
def _multilingual(settings: Settings) -> None:
    """All URLs stand below a language, of which "en" is the default."""
    settings.LANGUAGE_CODE = "en"
    settings.ROOT_URLCONF = "tests.web.multilingual"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]


@pytest.fixture
def submit(user: AbstractBaseUser) -> Callable[..., Operation]:
    """Store an operation of `user`'s."""

    def make(task: Any = echo, **input: Any) -> Operation:
        return services.submit(task, input=input, owner=str(user.pk))

    return make


@pytest.fixture
def running(submit: Callable[..., Operation]) -> Operation:
    """An operation of `user`'s that a worker holds."""
    operation = submit()
    assert lifecycle.claim(operation, worker="w1")
    return operation


@pytest.fixture
def succeeded(submit: Callable[..., Operation]) -> Operation:
    """An operation of `user`'s that answered {"number": 7}."""
    operation = submit(number=7)
    run_operations()
    operation.refresh_from_db()
    return operation
