"""Each way to submit stores the deliveries with the operation, and refuses a bad callback."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError, transaction
from pytest_django import DjangoAssertNumQueries, Settings
from rest_framework.test import APIClient

from async_reply import services
from async_reply.contrib.webhooks import events, hints, replays, submits
from async_reply.contrib.webhooks.models import CallbackSecret, Delivery, DeliveryTry, Endpoint
from async_reply.database.identifiers import uuid7
from async_reply.models import Operation
from async_reply.testing import run_operations
from async_reply.worker import beat
from tests.contrib.webhooks.receivers import Receiver
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db

URL = "https://hooks.example/done?token=1"


@pytest.fixture
def signed(user: AbstractBaseUser) -> CallbackSecret:
    row = CallbackSecret(owner=str(user.pk))
    row.renew_secret()
    row.save()
    return row


def post(api: APIClient, path: str = "/hooked/", **body: Any) -> Any:
    return api.post(path, {"number": 1, **body}, format="json")


def test_no_webhooks__cost_no_statement(
    user: AbstractBaseUser,
    additions_to_submits: list[Any],
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    additions_to_submits.clear()
    with django_assert_num_queries(3) as counted:
        services.submit(echo, owner=str(user.pk))
    # the test's transaction makes it a savepoint
    assert "INSERT" in counted.captured_queries[1]["sql"]


def test_owner_without_endpoint__costs_one_statement_at_the_submit(
    user: AbstractBaseUser, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(4):
        operation = services.submit(echo, owner=str(user.pk))
    assert submits.MARK not in operation.reply


def test_nobody__costs_no_statement(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(3):
        services.submit(echo)


def test_job_without_deliveries__pays_nothing_at_its_start_and_end(
    user: AbstractBaseUser,
    django_assert_num_queries: DjangoAssertNumQueries,
    django_capture_on_commit_callbacks: Any,
) -> None:
    services.submit(echo, owner=str(user.pk))
    with django_capture_on_commit_callbacks() as callbacks:
        run_operations()
    with django_assert_num_queries(0):
        for callback in callbacks:
            callback()


@pytest.mark.parametrize("way", ["service", "view", "beat", "rerun"])
def test_each_way_to_submit__stores_the_deliveries(
    way: str, user: AbstractBaseUser, api: APIClient, endpoint: Endpoint
) -> None:
    if way == "service":
        services.submit(echo, owner=str(user.pk))
    elif way == "view":
        assert api.post("/echoes/", {"number": 1}).status_code == 202
    elif way == "beat":
        beat.submit(echo.name, owner=str(user.pk))
    else:
        first = services.submit(echo, owner=str(user.pk))
        run_operations()
        first.refresh_from_db()
        Delivery.objects.all().delete()
        services.rerun(first)
    operation = Operation.objects.order_by("id").last()
    assert operation is not None
    delivery = Delivery.objects.get()
    assert delivery.operation == operation.pk
    assert delivery.endpoint == endpoint.pk
    assert delivery.kind == echo.name
    assert operation.reply[submits.MARK] == 1


def test_replay__stores_no_delivery(api: APIClient, endpoint: Endpoint) -> None:
    for _ in range(2):
        answer = api.post("/echoes/", {"number": 1}, HTTP_IDEMPOTENCY_KEY="k")
        assert answer.status_code == 202
    assert Delivery.objects.count() == 1


def test_delivery_that_cannot_be_stored__stores_no_operation(
    user: AbstractBaseUser, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any) -> None:
        raise IntegrityError

    monkeypatch.setattr(Delivery.objects, "bulk_create", fail)
    with pytest.raises(IntegrityError), transaction.atomic():
        services.submit(echo, owner=str(user.pk))
    assert not Operation.objects.exists()


def test_disabled_endpoints_and_those_of_others__get_no_delivery(
    user: AbstractBaseUser, stranger: AbstractBaseUser, endpoint: Endpoint
) -> None:
    services.submit(echo, owner=str(stranger.pk))
    Endpoint.objects.update(state=Endpoint.State.DISABLED)
    services.submit(echo, owner=str(user.pk))
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("setting", ["WEBHOOK_SCHEMES", "WEBHOOK_NETWORKS"])
def test_endpoint_that_the_settings_no_longer_allow__says_so_in_the_ledger(
    setting: str, user: AbstractBaseUser, endpoint: Endpoint, deliver: Any, settings: Settings
) -> None:
    values = {"WEBHOOK_SCHEMES": ["https"], "WEBHOOK_NETWORKS": []}
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, setting: values[setting]}
    services.submit(echo, owner=str(user.pk))
    run_operations()
    hints.mark()
    deliver()
    replays.send_test(endpoint)
    deliver()
    errors = {"WEBHOOK_SCHEMES": "https://", "WEBHOOK_NETWORKS": "no address"}
    for told in DeliveryTry.objects.values_list("error", flat=True):
        assert errors[setting] in told
    assert DeliveryTry.objects.count() == 2


def test_filter__is_stored_with_the_delivery(user: AbstractBaseUser, endpoint: Endpoint) -> None:
    Endpoint.objects.update(events=[events.STARTED, "operation.failed"])
    services.submit(echo, owner=str(user.pk))
    delivery = Delivery.objects.get()
    assert (delivery.wants_started, delivery.wants_expired) == (True, False)
    assert delivery.outcomes == ["operation.failed"]


@pytest.mark.parametrize("format", ["json", "multipart"])
def test_callback__is_stored_and_kept_from_the_job(
    format: str, api: APIClient, signed: CallbackSecret
) -> None:
    body = {"number": 1, "callback": URL, "callback_events": ["operation.failed"]}
    assert api.post("/hooked/", body, format=format).status_code == 202
    operation, delivery = Operation.objects.get(), Delivery.objects.get()
    assert operation.input == {"number": 1}
    assert URL not in str(operation.reply)
    assert (delivery.endpoint, delivery.url, delivery.host) == (None, URL, "hooks.example")
    assert delivery.outcomes == ["operation.failed"]
    assert delivery.base_url == "http://testserver"


def test_rerun__tells_the_callback_too(api: APIClient, signed: CallbackSecret) -> None:
    assert post(api, callback=URL).status_code == 202
    run_operations()
    again = services.rerun(Operation.objects.get())
    assert Delivery.objects.get(operation=again.pk).url == URL


def test_body_without_callback__is_taken(api: APIClient) -> None:
    assert post(api).status_code == 202
    assert not Delivery.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        {"callback": "https://user:pw1234@hooks.example/"},
        {"callback": "https://127.0.0.1:22/"},
        {"callback": "ftp://hooks.example/"},
        {"callback": ["https://hooks.example/"]},
        {"callback": URL, "callback_events": ["operation.finished"]},
        {"callback": URL, "callback_events": "operation.failed"},
        {"callback": URL, "callback_events": [1]},
    ],
)
def test_bad_callback__is_400_and_stores_nothing(
    body: dict[str, Any], api: APIClient, signed: CallbackSecret
) -> None:
    answer = post(api, **body)
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert set(answer.data["errors"]) <= {"callback", "callback_events"}
    assert "pw1234" not in answer.content.decode()
    assert not Operation.objects.exists()


def test_callback__needs_a_signature(api: APIClient, settings: Settings) -> None:
    answer = post(api, callback=URL)
    assert answer.status_code == 400
    key = "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk="
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "WEBHOOK_KEYS": [key]}
    assert post(api, callback=URL).status_code == 202


def test_view_without_webhook__takes_callback_for_an_unknown_member(
    api: APIClient, signed: CallbackSecret
) -> None:
    api.post("/echoes/", {"number": 1, "callback": URL}, format="json")
    assert not Delivery.objects.exists()


def test_outcome__is_delivered_and_verified(
    user: AbstractBaseUser, endpoint: Any, receiver: Receiver, deliver: Callable[[], int]
) -> None:
    operation = services.submit(echo, owner=str(user.pk))
    assert deliver() == 0
    run_operations()
    Delivery.objects.update(due_at=operation.created_at)
    assert deliver() == 1
    receiver.verify(endpoint.plain_secret)
    assert receiver.ids == [f"{operation.pk}.succeeded"]
    (message,) = receiver.messages
    assert message["type"] == "operation.succeeded"
    assert message["data"] == {
        "id": str(operation.pk),
        "kind": echo.name,
        "status": "succeeded",
        "resourceLocation": f"https://example.org/api/operations/{operation.pk}/result/",
    }
    delivery = Delivery.objects.get()
    assert delivery.state == Delivery.State.DELIVERED
    (tried,) = delivery.ledger.all()
    assert (tried.status, tried.error) == (204, "")


@pytest.mark.parametrize("state", Delivery.State)
@pytest.mark.parametrize("is_callback", [True, False])
def test_disown__keeps_open_callbacks_which_the_owner_signs(
    state: Delivery.State, is_callback: bool
) -> None:
    row = Delivery.objects.create(
        operation=uuid7(), owner="7", state=state, endpoint=None if is_callback else uuid7()
    )
    submits.disown("7")
    row.refresh_from_db()
    is_kept = is_callback and state == Delivery.State.OPEN
    assert row.owner == ("7" if is_kept else submits.NOBODY)
