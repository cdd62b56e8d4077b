"""Webhooks are on, and receivers on this machine are allowed."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import AbstractBaseUser
from pytest_django import Settings

from async_reply.contrib.webhooks.addresses import check_url

pytest.importorskip("cryptography", reason="needs the extra webhooks")
pytest.importorskip("httpcore", reason="needs the extra webhooks")
pytest.importorskip("standardwebhooks", reason="needs the extra webhooks")

from async_reply.contrib.webhooks import deliveries, events, submits, tasks
from async_reply.contrib.webhooks.models import Endpoint
from tests.contrib.webhooks.receivers import Receiver, receiving


@pytest.fixture(autouse=True)
def published(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, additions_to_submits: list[Any]
) -> list[str]:
    """Webhooks are on. The messages to workers that would be sent."""
    additions_to_submits.append(submits.add_deliveries)
    local = {"WEBHOOK_SCHEMES": ["https", "http"], "WEBHOOK_NETWORKS": ["127.0.0.0/8"]}
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, **local}
    sent: list[str] = []
    monkeypatch.setattr(tasks, "publish", lambda: sent.append("deliver"))
    return sent


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


@pytest.fixture
def endpoint(user: AbstractBaseUser, receiver: Receiver) -> Any:
    """An endpoint of `user`. Its attribute `plain_secret` is what the user was shown."""
    return make_endpoint(user, receiver.url)


def make_endpoint(user: AbstractBaseUser, url: str, **columns: Any) -> Any:
    check_url(url)
    columns = {"events": events.default(), "base_url": "https://example.org", **columns}
    row: Any = Endpoint(owner=str(user.pk), url=url, **columns)
    row.plain_secret = row.renew_secret()
    row.save()
    return row


@pytest.fixture
def deliver() -> Callable[[], int]:
    """Posts what is due, one message after the other; returns how many."""

    def post_all() -> int:
        count = 0
        while messages := deliveries.claim_due(20):
            for message in messages:
                deliveries.record(message, message.post())
                count += 1
        return count

    return post_all
