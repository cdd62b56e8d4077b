"""Fixtures for mistakes and set-ups of new projects."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import AbstractBaseUser
from rest_framework.test import APIClient

from tests.publishing.brokers import send


@pytest.fixture
def api(user: AbstractBaseUser, client_of: Callable[..., APIClient]) -> APIClient:
    """A client of `user`. An exception in a view becomes a 500, as on a server."""
    client = client_of(user)
    client.raise_request_exception = False
    return client


@pytest.fixture
def real_send(monkeypatch: pytest.MonkeyPatch, broker: list[str]) -> None:
    """Messages are really sent, to the broker of Celery's settings."""
    monkeypatch.setattr("async_reply.publishing.broker.send", send)
