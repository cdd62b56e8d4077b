"""Signed links: the operations and methods that a valet key opens, and the keys in answers."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import AbstractBaseUser
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings
from rest_framework.test import APIClient

from async_reply import documents, services
from async_reply.models import Operation
from async_reply.protocol import valet_keys
from async_reply.testing import run_operations
from tests.project.tasks import echo
from tests.project.views import OpenView

pytestmark = pytest.mark.django_db

ClientOf = Callable[..., APIClient]
Links = dict[str, str]


@pytest.fixture
def nobody(client_of: ClientOf) -> APIClient:
    return client_of()


@pytest.fixture
def links(nobody: APIClient) -> Links:
    """Links of an operation that an anonymous caller submitted. Their keys can cancel."""
    submitted: Links = nobody.post("/open/", {"number": 7}).json()["links"]
    return submitted


@pytest.fixture
def shared(api: APIClient) -> Links:
    """Links of an operation of `user`. Everybody who has them can read."""
    submitted: Links = api.post("/shared/", {"number": 7}).json()["links"]
    return submitted


def key_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["sig"][0]


def test_anonymous__whole_conversation(nobody: APIClient) -> None:
    accepted = nobody.post("/open/", {"number": 7})
    assert accepted.status_code == 202
    poll = nobody.get(accepted["Location"])
    assert (poll.status_code, poll["Referrer-Policy"]) == (200, "no-referrer")
    assert nobody.get(accepted["Operation-Location"]).status_code == 200
    run_operations()
    redirect = nobody.get(accepted["Location"])
    assert redirect.status_code == 302
    assert nobody.get(redirect["Location"]).json() == {"number": 7}
    assert nobody.delete(accepted["Location"]).status_code == 204
    assert nobody.get(accepted["Location"]).status_code == 404


def test_anonymous__every_link_is_signed(links: Links) -> None:
    assert set(links) == {"self", "monitor", "result", "events", "log", "cancel"}
    assert all(key_of(url) for url in links.values())


def test_anonymous__cancels_by_a_key_of_this_scope(nobody: APIClient, links: Links) -> None:
    assert nobody.post(links["cancel"]).json()["status"] == "canceled"


def test_key__needs_one_query_and_ignores_credentials(
    nobody: APIClient, links: Links, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        answer = nobody.get(links["self"], headers={"Authorization": "Token no-such-token"})
    assert answer.status_code == 200


def test_shared__others_read_and_cannot_cancel(nobody: APIClient, shared: Links) -> None:
    assert nobody.get(shared["self"]).status_code == 200
    assert "sig" not in shared["cancel"]
    key = key_of(shared["self"])
    for answer in (
        nobody.post(f"{shared['cancel']}?sig={key}"),
        nobody.delete(shared["self"]),
    ):
        assert answer.status_code == 404
    assert Operation.objects.get().status == "pending"
    assert nobody.post(shared["cancel"]).status_code == 401


def test_shared__owner_needs_no_key(api: APIClient, shared: Links) -> None:
    assert api.get(shared["self"].partition("?")[0]).status_code == 200
    assert api.post(shared["cancel"]).status_code == 200


def test_key__of_another_operation_opens_nothing(
    nobody: APIClient, api: APIClient, shared: Links
) -> None:
    other = api.post("/echoes/", {"number": 1}).json()["links"]
    assert nobody.get(f"{other['self']}?sig={key_of(shared['self'])}").status_code == 404


@pytest.mark.parametrize("sig", ["", "x", "read.9999999999.xxx", "%00", "%ff", "a" * 5000])
def test_key__malformed_is_404(
    nobody: APIClient, shared: Links, sig: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    path, unknown = shared["self"].partition("?")[0], "/api/operations/0192/"
    with django_assert_num_queries(0):
        answers = [nobody.get(f"{url}?sig={sig}") for url in (path, unknown)]
    assert answers[0].status_code == 404
    assert answers[0].content == answers[1].content


def test_key__missing_without_credentials_is_401(nobody: APIClient, shared: Links) -> None:
    existing = nobody.get(shared["self"].partition("?")[0])
    unknown = nobody.get("/api/operations/0192/")
    assert (existing.status_code, existing.content) == (401, unknown.content)


def test_key__expires(nobody: APIClient, api: APIClient, settings: Settings) -> None:
    operation = Operation.objects.get(pk=api.post("/shared/", {}).json()["id"])
    key = valet_keys.make(operation.pk, scope="read", seconds=-1)
    assert nobody.get(f"/api/operations/{operation.pk}/?sig={key}").status_code == 404


def test_key__expires_with_its_operation(api: APIClient, shared: Links) -> None:
    run_operations()
    soon = timezone.now() + timedelta(minutes=10)
    Operation.objects.update(expires_at=soon)
    url = api.get(shared["monitor"]).json()["links"]["self"]
    expiry = int(key_of(url).split(".")[1])
    assert abs(expiry - soon.timestamp()) <= 1


PATHS = ["", "monitor/", "result/", "events/"]


def keys_in(answer: Any) -> set[str]:
    """The keys in an answer's headers and document."""
    text = f"{answer.headers} {getattr(answer, 'content', b'').decode()}"
    return set(re.findall(r"sig=([\w.-]+)", text))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("finished", [False, True])
def test_key__gets_keys_of_its_own_scope_only(
    nobody: APIClient, links: Links, path: str, finished: bool
) -> None:
    operation = Operation.objects.get()
    if finished:
        run_operations()
    key = valet_keys.make(operation.pk, scope="read", seconds=60)
    answer = nobody.head(f"/api/operations/{operation.pk}/{path}?sig={key}")
    keys = keys_in(answer)
    assert keys
    assert {valet_keys.scope(other) for other in keys} == {"read"}
    assert (keys == {key}) is finished
    assert valet_keys.scope(key_of(links["self"])) == "cancel"


def test_key__to_read_gets_no_cancel_link_with_a_key(nobody: APIClient, links: Links) -> None:
    """An owner gets a cancel link without a key, to use with their own credentials."""
    pk = Operation.objects.get().pk
    key = valet_keys.make(pk, scope="read", seconds=60)
    for owner in ("", "1"):
        Operation.objects.filter(pk=pk).update(owner=owner)
        urls = nobody.get(f"/api/operations/{pk}/monitor/?sig={key}").json()["links"]
        plain = f"{urls['self'].partition('?')[0]}cancel/"
        assert urls.get("cancel") == (plain if owner else None)
        assert nobody.delete(urls["self"]).status_code == 404


def test_key__of_an_unknown_scope_opens_nothing(
    nobody: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenView, "valet_key_scope", "everything")
    urls = nobody.post("/open/", {}).json()["links"]
    assert "cancel" not in urls
    assert {nobody.get(url).status_code for url in urls.values()} == {404}


def test_key__is_renewed_until_the_operation_has_finished(nobody: APIClient, shared: Links) -> None:
    pk = Operation.objects.get().pk
    soon = valet_keys.make(pk, scope="read", seconds=60)
    url = f"/api/operations/{pk}/monitor/?sig={soon}"
    renewed = key_of(nobody.get(url).json()["links"]["monitor"])
    assert valet_keys.expiry(renewed) > valet_keys.expiry(soon)
    run_operations()
    assert key_of(nobody.get(url).json()["links"]["result"]) == soon
    result = nobody.get(f"/api/operations/{pk}/?sig={soon}")["Location"]
    assert nobody.get(result).status_code == 200


def test_submit__ignores_a_key_in_its_url(nobody: APIClient) -> None:
    urls = nobody.post("/open/?sig=read.1.x", {}).json()["links"]
    assert valet_keys.scope(key_of(urls["self"])) == "cancel"


def test_key__of_an_expired_operation_is_410(nobody: APIClient, shared: Links) -> None:
    run_operations()
    Operation.objects.update(expires_at=timezone.now())
    assert nobody.get(shared["result"]).status_code == 410


def test_replay__gets_the_same_receipt_with_new_keys(api: APIClient) -> None:
    key = {"Idempotency-Key": "k"}
    first, again = (api.post("/shared/", {"number": 1}, headers=key).json() for _ in range(2))
    assert all(key_of(again["links"][name]) for name in documents.LINKS)
    del first["links"], again["links"]
    assert first == again


def test_owner__gets_links_without_keys_from_a_view_that_does_not_sign(api: APIClient) -> None:
    assert "?" not in api.post("/echoes/", {"number": 1}).json()["links"]["self"]


def test_anonymous__submit_to_a_view_that_does_not_sign_is_401(nobody: APIClient) -> None:
    assert nobody.post("/echoes/", {"number": 1}).status_code == 401


def test_submit__by_the_service_has_no_key(user: AbstractBaseUser, client_of: ClientOf) -> None:
    operation = services.submit(echo, owner=str(user.pk))
    answer = client_of(user).get(f"/api/operations/{operation.pk}/")
    assert "?" not in answer.json()["links"]["self"]
