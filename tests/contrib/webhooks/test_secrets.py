"""A secret is in no log, error, answer or page of the admin, but in the answer that makes it."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AbstractBaseUser, User
from django.test import Client
from rest_framework.test import APIClient

from async_reply import services
from async_reply.contrib.webhooks import deliveries, hints, replays
from async_reply.contrib.webhooks.models import Delivery, DeliveryTry, Endpoint
from async_reply.testing import run_operations
from tests.contrib.webhooks.conftest import make_endpoint
from tests.contrib.webhooks.receivers import Receiver, answering
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db

TOKEN = "token-in-the-query"


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def secrets(user: AbstractBaseUser, receiver: Receiver, deliver: Callable[[], int]) -> list[str]:
    """The secrets, after a failed and a successful delivery and a rotation."""
    endpoint = make_endpoint(user, f"{receiver.url}?key={TOKEN}")
    first = endpoint.plain_secret
    second = endpoint.renew_secret()
    endpoint.save()
    services.submit(echo, owner=str(user.pk))
    run_operations()
    receiver.answer = answering(500)
    hints.mark()
    deliver()
    receiver.answer = answering(200)
    hints.mark()
    deliver()
    endpoint.refresh_from_db()
    return [first, second, endpoint.secret, endpoint.previous_secret, TOKEN]


def test_no_answer__has_a_secret(secrets: list[str], api: APIClient) -> None:
    endpoint, delivery = Endpoint.objects.get(), Delivery.objects.get()
    paths = ["", f"{endpoint.pk}/", "deliveries/", f"deliveries/{delivery.pk}/"]
    for path in paths:
        answer = api.get(f"/api/webhooks/{path}")
        assert answer.status_code == 200
        assert [text for text in secrets if text in answer.content.decode()] == []
    refused = api.patch(f"/api/webhooks/{endpoint.pk}/", {"url": "https://a:pw1234@b.example/"})
    assert "pw1234" not in refused.content.decode()


def test_ledger__has_no_valet_key_of_a_receiver_that_echoes_its_message(
    user: AbstractBaseUser, receiver: Receiver, deliver: Callable[[], int]
) -> None:
    """A whole document has signed links where the submitting view signs them."""
    make_endpoint(user, receiver.url, whole=True)
    operation = services.submit(echo, owner=str(user.pk), reply={"valet_key": "read"})
    run_operations()
    receiver.answer = lambda handler: answering(500, receiver.requests[-1][1].encode())(handler)
    hints.mark()
    deliver()
    assert "?sig=read." in receiver.requests[0][1]
    (answer,) = DeliveryTry.objects.values_list("answer", flat=True)
    assert str(operation.pk) in answer
    assert "?sig=***" in answer
    assert "sig=read" not in answer


def test_no_page_of_the_admin__has_a_secret(secrets: list[str], staff: Client) -> None:
    endpoint, delivery = Endpoint.objects.get(), Delivery.objects.get()
    base = "/admin/async_reply_webhooks/"
    pages = ["endpoint/", f"endpoint/{endpoint.pk}/change/", "delivery/"]
    for path in [*pages, f"delivery/{delivery.pk}/change/"]:
        answer = staff.get(base + path)
        assert answer.status_code == 200
        assert [text for text in secrets if text in answer.content.decode()] == []


def test_no_log_line__has_a_secret(
    caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = request.getfixturevalue("secrets")
    assert "not delivered" in caplog.text
    assert [text for text in secrets if text in caplog.text] == []


def test_no_error_or_repr__has_a_secret(secrets: list[str]) -> None:
    endpoint = Endpoint.objects.get()
    replays.send_test(endpoint)
    (message,) = deliveries.claim_due(20)
    texts = [repr(endpoint), str(endpoint), repr(Delivery.objects.first()), repr(message)]
    assert [text for text in secrets if any(text in shown for shown in texts)] == []


def test_admin__acts_on_endpoints_and_deliveries(
    secrets: list[str], staff: Client, receiver: Receiver, deliver: Callable[[], int]
) -> None:
    endpoint, delivery = Endpoint.objects.get(), Delivery.objects.get()

    def act(page: str, action: str, pk: Any) -> None:
        body = {"action": action, "_selected_action": [str(pk)]}
        answer = staff.post(f"/admin/async_reply_webhooks/{page}/", body)
        assert answer.status_code == 302

    sent = len(receiver.requests)
    act("delivery", "replay", delivery.pk)
    act("endpoint", "send_test", endpoint.pk)
    deliver()
    assert len(receiver.requests) == sent + 2
    act("endpoint", "disable", endpoint.pk)
    endpoint.refresh_from_db()
    assert endpoint.state == Endpoint.State.DISABLED
    act("endpoint", "enable", endpoint.pk)
    endpoint.refresh_from_db()
    assert endpoint.state == Endpoint.State.ENABLED
