from collections.abc import Callable

import pytest
from django.contrib.auth.models import AbstractBaseUser
from rest_framework.test import APIClient

from tests.publishing.brokers import send


@pytest.fixture
def api(user: AbstractBaseUser, client_of: Callable[..., APIClient]) -> APIClient:
    """A client that speaks for `user` and gets a 500 where a server would send one."""
    client = client_of(user)
    client.raise_request_exception = False
    return client


@pytest.fixture
def real_send(monkeypatch: pytest.MonkeyPatch, broker: list[str]) -> None:
    """Messages go where Celery's settings say."""
    monkeypatch.setattr("async_reply.publishing.broker.send", send)
