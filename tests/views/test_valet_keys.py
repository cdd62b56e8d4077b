"""Signed links: what they open, to whom, and what they never tell."""

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
    """Of what an anonymous caller submitted, with the right to cancel."""
    found: Links = nobody.post("/open/", {"number": 7}).json()["links"]
    return found


@pytest.fixture
def shared(api: APIClient) -> Links:
    """Of what somebody submitted, to be read by whoever they are handed to."""
    found: Links = api.post("/shared/", {"number": 7}).json()["links"]
    return found


def key_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["sig"][0]


def test_anonymous__whole_conversation(nobody: APIClient) -> None:
    accepted = nobody.post("/open/", {"number": 7})
    assert accepted.status_code == 202
    poll = nobody.get(accepted["Location"])
    assert (poll.status_code, poll["Referrer-Policy"]) == (200, "no-referrer")
    assert nobody.get(accepted["Operation-Location"]).status_code == 200
    run_operations()
    found = nobody.get(accepted["Location"])
    assert found.status_code == 302
    assert nobody.get(found["Location"]).json() == {"number": 7}
    assert nobody.delete(accepted["Location"]).status_code == 204
    assert nobody.get(accepted["Location"]).status_code == 404


def test_anonymous__every_link_is_signed(links: Links) -> None:
    assert set(links) == {"self", "monitor", "result", "events", "cancel"}
    assert all(key_of(url) for url in links.values())


def test_anonymous__may_cancel_by_its_scope(nobody: APIClient, links: Links) -> None:
    assert nobody.post(links["cancel"]).json()["status"] == "canceled"


def test_key__one_statement_and_no_look_at_credentials(
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
def test_key__that_is_no_key_is_an_unknown_operation(
    nobody: APIClient, shared: Links, sig: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    path, unknown = shared["self"].partition("?")[0], "/api/operations/0192/"
    with django_assert_num_queries(0):
        answers = [nobody.get(f"{url}?sig={sig}") for url in (path, unknown)]
    assert answers[0].status_code == 404
    assert answers[0].content == answers[1].content


def test_key__without_one_and_without_credentials_is_401(nobody: APIClient, shared: Links) -> None:
    known = nobody.get(shared["self"].partition("?")[0])
    unknown = nobody.get("/api/operations/0192/")
    assert (known.status_code, known.content) == (401, unknown.content)


def test_key__expires(nobody: APIClient, api: APIClient, settings: Settings) -> None:
    operation = Operation.objects.get(pk=api.post("/shared/", {}).json()["id"])
    key = valet_keys.make(operation.pk, scope="read", seconds=-1)
    assert nobody.get(f"/api/operations/{operation.pk}/?sig={key}").status_code == 404


def test_key__is_never_good_for_longer_than_its_operation(api: APIClient, shared: Links) -> None:
    run_operations()
    soon = timezone.now() + timedelta(minutes=10)
    Operation.objects.update(expires_at=soon)
    url = api.get(shared["monitor"]).json()["links"]["self"]
    expiry = int(key_of(url).split(".")[1])
    assert abs(expiry - soon.timestamp()) <= 1


PATHS = ["", "monitor/", "result/", "events/"]


def keys_in(answer: Any) -> set[str]:
    """All that an answer hands out, in its headers or its document."""
    told = f"{answer.headers} {getattr(answer, 'content', b'').decode()}"
    return set(re.findall(r"sig=([\w.-]+)", told))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("finished", [False, True])
def test_key__hands_out_no_more_than_it_is(
    nobody: APIClient, links: Links, path: str, finished: bool
) -> None:
    operation = Operation.objects.get()
    if finished:
        run_operations()
    key = valet_keys.make(operation.pk, scope="read", seconds=60)
    answer = nobody.head(f"/api/operations/{operation.pk}/{path}?sig={key}")
    told = keys_in(answer)
    assert told
    assert {valet_keys.scope(each) for each in told} == {"read"}
    assert (told == {key}) is finished
    assert valet_keys.scope(key_of(links["self"])) == "cancel"


def test_key__to_read_has_no_link_that_cancels(nobody: APIClient, links: Links) -> None:
    """But one without a key, where there is an owner who could."""
    pk = Operation.objects.get().pk
    key = valet_keys.make(pk, scope="read", seconds=60)
    for owner in ("", "1"):
        Operation.objects.filter(pk=pk).update(owner=owner)
        found = nobody.get(f"/api/operations/{pk}/monitor/?sig={key}").json()["links"]
        plain = f"{found['self'].partition('?')[0]}cancel/"
        assert found.get("cancel") == (plain if owner else None)
        assert nobody.delete(found["self"]).status_code == 404


def test_key__of_a_scope_that_there_is_not_has_no_link_that_cancels(
    nobody: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenView, "valet_key_scope", "everything")
    found = nobody.post("/open/", {}).json()["links"]
    assert "cancel" not in found
    assert {nobody.get(url).status_code for url in found.values()} == {404}


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


def test_submit__is_not_bounded_by_a_key_in_its_url(nobody: APIClient) -> None:
    found = nobody.post("/open/?sig=read.1.x", {}).json()["links"]
    assert valet_keys.scope(key_of(found["self"])) == "cancel"


def test_key__of_an_expired_operation_is_410(nobody: APIClient, shared: Links) -> None:
    run_operations()
    Operation.objects.update(expires_at=timezone.now())
    assert nobody.get(shared["result"]).status_code == 410


def test_replay__same_receipt_with_fresh_links(api: APIClient) -> None:
    key = {"Idempotency-Key": "k"}
    first, again = (api.post("/shared/", {"number": 1}, headers=key).json() for _ in range(2))
    assert all(key_of(again["links"][name]) for name in documents.LINKS)
    del first["links"], again["links"]
    assert first == again


def test_owner__links_are_plain_unless_the_view_signs_them(api: APIClient) -> None:
    assert "?" not in api.post("/echoes/", {"number": 1}).json()["links"]["self"]


def test_nobody__cannot_submit_where_links_are_not_signed(nobody: APIClient) -> None:
    assert nobody.post("/echoes/", {"number": 1}).status_code == 401


def test_submit__without_http_has_no_key(user: AbstractBaseUser, client_of: ClientOf) -> None:
    operation = services.submit(echo, owner=str(user.pk))
    answer = client_of(user).get(f"/api/operations/{operation.pk}/")
    assert "?" not in answer.json()["links"]["self"]
