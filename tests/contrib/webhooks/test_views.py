"""An owner manages its own endpoints and deliveries, and sees a secret once."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import AbstractBaseUser
from django.db import connections
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from async_reply import services
from async_reply.contrib.webhooks import hints, submits
from async_reply.contrib.webhooks.models import CallbackSecret, Delivery, Endpoint, Signed
from async_reply.contrib.webhooks.serializers import EndpointSerializer
from async_reply.testing import run_operations
from tests.contrib.webhooks.receivers import Receiver
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db

PATH = "/api/webhooks/"
URL = "https://hooks.example/done?token=pw1234"


@pytest.fixture
def delivered(user: AbstractBaseUser, endpoint: Endpoint, deliver: Callable[[], int]) -> Any:
    services.submit(echo, owner=str(user.pk))
    run_operations()
    hints.mark()
    deliver()
    return Delivery.objects.get()


def test_endpoint__is_made_and_shows_its_secret_once(api: APIClient) -> None:
    answer = api.post(PATH, {"url": URL})
    assert answer.status_code == 201
    assert answer.data["secret"].startswith("whsec_")
    assert answer.data["events"] == [
        *("operation.canceled", "operation.failed", "operation.succeeded")
    ]
    endpoint = Endpoint.objects.get()
    assert (endpoint.url, endpoint.base_url) == (URL, "http://testserver")
    for path in (PATH, f"{PATH}{endpoint.pk}/"):
        text = api.get(path).content.decode()
        assert answer.data["secret"] not in text
        assert "pw1234" not in text
        assert "https://hooks.example/done?" in text


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "https://10.0.0.1/"},
        {"url": "https://hooks.example:25/"},
        {"url": URL, "events": []},
        {"url": URL, "events": ["operation.unknown"]},
        {"url": URL, "events": ["\ud800"]},
        {"url": URL, "state": "gone"},
    ],
)
def test_bad_endpoint__is_400(body: dict[str, Any], api: APIClient) -> None:
    text = json.dumps(body)
    assert api.post(PATH, text, content_type="application/json").status_code == 400
    assert not Endpoint.objects.exists()


def test_host_that_no_column_can_hold__is_400(api: APIClient, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    assert api.post(PATH, {"url": URL}, HTTP_HOST="a" * 600).status_code == 400
    assert not Endpoint.objects.exists()


def test_owner__has_a_bounded_number_of_endpoints(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submits, "MAX_ENDPOINTS", 1)
    assert api.post(PATH, {"url": URL}).status_code == 201
    assert api.post(PATH, {"url": URL}).status_code == 400


def test_endpoint__is_changed_and_deleted(
    api: APIClient, endpoint: Endpoint, delivered: Delivery
) -> None:
    path = f"{PATH}{endpoint.pk}/"
    body = {"url": URL, "events": ["operation.failed"], "state": "disabled"}
    answer = api.patch(path, body)
    assert answer.status_code == 200
    endpoint.refresh_from_db()
    assert (endpoint.url, endpoint.events, endpoint.state) == (*body.values(),)
    assert api.patch(path, {"url": "https://127.1/"}).status_code == 400
    assert api.delete(path).status_code == 204
    assert not Endpoint.objects.exists()


def test_new_secret__is_shown_once_and_the_old_one_signs_too(api: APIClient, endpoint: Any) -> None:
    answer = api.post(f"{PATH}{endpoint.pk}/secret/")
    endpoint.refresh_from_db()
    assert endpoint.keys() == [answer.data["secret"], endpoint.plain_secret]


def test_callback_secret__is_made_and_renewed(api: APIClient, user: AbstractBaseUser) -> None:
    first = api.post(f"{PATH}callback-secret/")
    assert first.status_code == 201
    assert submits.is_signed(str(user.pk))
    assert api.post(f"{PATH}callback-secret/").data["secret"] != first.data["secret"]


def test_test_button__sends_a_message(
    api: APIClient, endpoint: Endpoint, receiver: Receiver, deliver: Callable[[], int]
) -> None:
    answer = api.post(f"{PATH}{endpoint.pk}/test/")
    assert answer.status_code == 202
    deliver()
    assert receiver.types == ["webhook.test"]
    shown = api.get(f"{PATH}deliveries/{answer.data['id']}/").data
    assert (shown["state"], shown["ledger"][0]["status"]) == ("delivered", 204)


def test_deliveries__are_listed_with_their_filters(
    api: APIClient, endpoint: Endpoint, delivered: Delivery
) -> None:
    for query in ("", f"?endpoint={endpoint.pk}", f"?operation={delivered.operation}"):
        (row,) = api.get(f"{PATH}deliveries/{query}").data["results"]
        assert row["message"] == f"{delivered.operation}.succeeded"
    assert api.get(f"{PATH}deliveries/?endpoint={uuid4()}").data["results"] == []
    assert api.get(f"{PATH}deliveries/?endpoint=x").status_code == 400


def test_replays__send_again(
    api: APIClient,
    endpoint: Endpoint,
    delivered: Delivery,
    receiver: Receiver,
    deliver: Callable[[], int],
) -> None:
    assert api.post(f"{PATH}deliveries/{delivered.pk}/replay/").data == {"replayed": 1}
    deliver()
    since = timezone.now() - timedelta(hours=1)
    path = f"{PATH}{endpoint.pk}/replay/"
    assert api.post(path, {"since": since.isoformat()}).data == {"replayed": 1}
    assert api.post(path, {}).status_code == 400
    deliver()
    assert len(receiver.ids) == 3
    assert len(set(receiver.ids)) == 1


@pytest.mark.parametrize("caller", ["stranger", "nobody"])
def test_others__see_and_change_nothing(
    caller: str,
    stranger: AbstractBaseUser,
    client_of: Callable[..., APIClient],
    endpoint: Endpoint,
    delivered: Delivery,
) -> None:
    client = client_of(stranger if caller == "stranger" else None)
    refused = 404 if caller == "stranger" else 401
    one, row = f"{PATH}{endpoint.pk}/", f"{PATH}deliveries/{delivered.pk}/"
    answers = [client.get(one), client.patch(one, {}), client.delete(one), client.get(row)]
    since = {"since": "2020-01-01T00:00:00Z"}
    answers += [client.post(one + path, since) for path in ("secret/", "test/", "replay/")]
    answers.append(client.post(f"{row}replay/"))
    assert {answer.status_code for answer in answers} == {refused}
    if caller == "stranger":
        assert client.get(PATH).data == {"results": []}
        assert client.get(f"{PATH}deliveries/").data["results"] == []


def test_malformed_id__is_404(api: APIClient) -> None:
    assert api.get(f"{PATH}nothing/").status_code == 404


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[Any]]]:
    """Sends a second request once the first one has read its row, and returns both answers."""
    with ThreadPoolExecutor(1) as pool:

        def send(second: Callable[[], Any], first: Callable[[], Any]) -> list[Any]:
            answers: list[Future[Any]] = []
            is_first = iter([True])

            def run() -> Any:
                try:
                    return second()
                finally:
                    connections.close_all()

            def late(function: Any) -> Any:
                def call(*args: Any, **kwargs: Any) -> Any:
                    if next(is_first, False):
                        answers.append(pool.submit(run))
                        # A request that waits for the row cannot end now.
                        wait(answers, timeout=0.5)
                    return function(*args, **kwargs)

                return call

            monkeypatch.setattr(EndpointSerializer, "is_valid", late(EndpointSerializer.is_valid))
            monkeypatch.setattr(Signed, "renew_secret", late(Signed.renew_secret))
            return [first(), answers[0].result()]

        yield send


@pytest.fixture
def again(api: APIClient, client_of: Callable[..., APIClient], user: AbstractBaseUser) -> APIClient:
    """A second client of `user`, for a thread of its own."""
    return client_of(user)


ALSO_STARTED = {"events": ["operation.started", "operation.failed"]}


@pytest.mark.django_db(transaction=True)
def test_change__keeps_a_secret_that_was_made_meanwhile(
    api: APIClient, again: APIClient, endpoint: Endpoint, meanwhile: Callable[..., list[Any]]
) -> None:
    one = f"{PATH}{endpoint.pk}/"
    _, shown = meanwhile(lambda: again.post(f"{one}secret/"), lambda: api.patch(one, ALSO_STARTED))
    endpoint.refresh_from_db()
    assert endpoint.keys()[0] == shown.data["secret"]
    assert endpoint.events == ALSO_STARTED["events"]


@pytest.mark.django_db(transaction=True)
def test_new_secret__keeps_what_was_changed_meanwhile(
    api: APIClient, again: APIClient, endpoint: Endpoint, meanwhile: Callable[..., list[Any]]
) -> None:
    one = f"{PATH}{endpoint.pk}/"
    off = {"state": "disabled"}
    shown, _ = meanwhile(lambda: again.patch(one, off), lambda: api.post(f"{one}secret/"))
    endpoint.refresh_from_db()
    assert endpoint.keys()[0] == shown.data["secret"]
    assert endpoint.state == "disabled"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("method", ["change", "secret"])
def test_endpoint__that_is_deleted_meanwhile_stays_deleted(
    method: str,
    api: APIClient,
    again: APIClient,
    endpoint: Endpoint,
    meanwhile: Callable[..., list[Any]],
) -> None:
    one = f"{PATH}{endpoint.pk}/"
    requests = {
        "change": lambda: api.patch(one, ALSO_STARTED),
        "secret": lambda: api.post(f"{one}secret/"),
    }
    _, deleted = meanwhile(lambda: again.delete(one), requests[method])
    assert deleted.status_code == 204
    assert not Endpoint.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["callback-secret/", "{pk}/secret/"])
def test_two_secrets_at_the_same_instant__sign_both(
    path: str,
    api: APIClient,
    again: APIClient,
    user: AbstractBaseUser,
    endpoint: Endpoint,
    meanwhile: Callable[..., list[Any]],
) -> None:
    url = PATH + path.format(pk=endpoint.pk)
    answers = meanwhile(lambda: again.post(url), lambda: api.post(url))
    row = Endpoint.objects.first() if "pk" in path else CallbackSecret.objects.first()
    assert row is not None
    assert {answer.data["secret"] for answer in answers} == set(row.keys())


def test_endpoint__change_of_unknown_length_is_411(api: APIClient, endpoint: Endpoint) -> None:
    """A body in chunks would be taken for a change of nothing, and answered 200."""
    body = b'{"state": "disabled"}'
    fields: dict[str, Any] = {
        "CONTENT_LENGTH": "",
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input": BytesIO(body),
        "wsgi.input_terminated": True,
    }
    path = f"{PATH}{endpoint.pk}/"
    answer = api.generic("PATCH", path, body.decode(), content_type="application/json", **fields)
    assert (answer.status_code, answer["Content-Type"]) == (411, "application/problem+json")
