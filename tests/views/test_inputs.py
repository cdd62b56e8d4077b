"""The view of what a job asks: as JSON, as a page, and by a valet key."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.http import HttpRequest
from django.test import Client
from django.urls import include, path
from pytest_django import Settings
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.test import APIClient

from async_reply import documents, services
from async_reply.database.clock import after
from async_reply.exceptions import NotAsked
from async_reply.models import Operation, OperationStep
from async_reply.protocol import schemas, valet_keys
from async_reply.services import answers
from async_reply.testing import accepted, run_operations
from async_reply.urls import urlpatterns as our_urls
from async_reply.views import InputView, forms
from tests.project.tasks import approve

pytestmark = pytest.mark.django_db

PAGE = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def asked(client: APIClient, path: str = "/approvals/") -> tuple[Operation, Any]:
    """An operation whose job asks, and the links of its document as `client` sees it."""
    response = client.post(path, {}, format="json")
    operation = accepted(response)
    run_operations()
    operation.refresh_from_db()
    return operation, client.get(response["Location"]).json()["links"]


def link_of(operation: Operation) -> str:
    return documents.input_link_at(operation, "http://testserver", "approve")


def answer_of(operation: Operation) -> str:
    row = OperationStep.objects.get(operation=operation, sort="question")
    return row.value and f"{row.value} by {row.answered_by}"


def test_form__is_answered_by_a_browser_without_a_login(api: APIClient) -> None:
    operation, _links = asked(api)
    browser, url = Client(enforce_csrf_checks=True), link_of(operation)
    page = browser.get(url, headers=PAGE)
    assert page.status_code == 200
    assert "csrfmiddlewaretoken" not in page.text
    assert page["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in page["Content-Security-Policy"]
    assert answer_of(operation) == ""
    form = {"approved": "true", "note": "", "day": ""}
    answered = browser.post(url, form, headers={**PAGE, "accept-language": "de"})
    assert answered.status_code == 200
    assert "Ihre Antwort ist gespeichert." in answered.text
    assert answer_of(operation) == '{"approved": true} by input-1'
    # A checkbox that is not set is a no.
    again = browser.post(url, {"note": ""}, headers=PAGE)
    assert again.status_code == 409
    assert "not open" in again.text


def test_form__of_a_session_has_a_token(user: Any, api: APIClient) -> None:
    operation, links = asked(api)
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(user)
    form = {"approved": "true"}
    page = browser.get(links["input"], headers=PAGE)
    if page.status_code == 401:
        pytest.skip("the project has no sessions")
    token = page.text.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
    assert browser.post(links["input"], form, headers=PAGE).status_code == 403
    form["csrfmiddlewaretoken"] = token
    assert browser.post(links["input"], form, headers=PAGE).status_code == 200
    assert answer_of(operation) == f'{{"approved": true}} by {user.pk}'


def test_key__holders_of_links_are_one_person(api: APIClient) -> None:
    """Links that were made at different times, too. The owner with the same answer is another."""
    operation, links = asked(api)
    urls = [link_of(operation), f"{link_of(operation)}&for=another"]
    codes = [APIClient().post(url, {"approved": True}, format="json").status_code for url in urls]
    assert codes == [200, 200]
    late = APIClient().post(urls[1], {"approved": False}, format="json")
    assert late.status_code == 409
    owner = api.post(links["input"], {"approved": True}, format="json")
    assert (owner.status_code, "by somebody else" in owner.json()["detail"]) == (409, True)
    assert answer_of(operation) == '{"approved": true} by input-1'


@pytest.mark.parametrize("scope", ["read", "cancel", "input-2", "input-", "input-01"])
def test_key__of_another_scope_opens_nothing(api: APIClient, scope: str) -> None:
    operation, links = asked(api)
    key = valet_keys.make(operation.pk, scope=scope, seconds=60)
    for method in ("GET", "POST"):
        answer = APIClient().generic(method, f"{links['input']}?sig={key}")
        assert answer.status_code == 404
    assert answer_of(operation) == ""


def test_key__opens_its_question_alone(api: APIClient) -> None:
    operation, links = asked(api)
    other, _links = asked(api)
    query = link_of(operation).partition("?")[2]
    visitor = APIClient()
    assert visitor.get(f"{links['input']}?{query}").status_code == 200
    # The document of the question has the same key, and no new one.
    assert visitor.get(f"{links['input']}?{query}").json()["link"].endswith(query)
    own = [links["self"], links["monitor"], links["result"], links["events"], links["log"]]
    foreign = link_of(other).partition("?")[0]
    missing = links["input"].replace("approve", "other")
    for url in (*own, foreign, missing):
        assert visitor.get(f"{url}?{query}").status_code == 404
    assert visitor.post(f"{links['cancel']}?{query}").status_code == 404
    assert visitor.delete(f"{links['self']}?{query}").status_code == 404


def test_key__ends_with_the_time_for_the_answer(api: APIClient) -> None:
    operation, links = asked(api)
    OperationStep.objects.update(until=after(-1))
    operation.refresh_from_db()
    vars(operation).pop("_asked", None)
    assert APIClient().get(link_of(operation)).status_code == 404
    # The owner may answer until an attempt begins.
    assert api.post(links["input"], {"approved": True}, format="json").status_code == 200


def test_link__is_only_of_an_open_question(api: APIClient) -> None:
    operation, _links = asked(api)
    for name, base_url, error in (
        ("other", "https://example.org", NotAsked),
        ("approve", "example.org", ValueError),
    ):
        with pytest.raises(error):
            documents.input_link_at(operation, base_url, name)
    services.answer(operation, "approve", {"approved": True})
    with pytest.raises(NotAsked):
        documents.input_link_at(Operation.objects.get(), "https://example.org", "approve")


def test_links__of_a_signed_view(client_of: Callable[..., APIClient]) -> None:
    visitor = client_of()
    operation, links = asked(visitor, "/open-approvals/")
    assert "sig=input-1." in links["input"]
    assert visitor.post(links["input"], {"approved": False}, format="json").status_code == 200
    assert answer_of(operation) == '{"approved": false} by input-1'
    # A key that may only read gives nobody a key to answer.
    _operation, links = asked(visitor, "/shared-approvals/")
    assert "input" not in links


def test_links__where_the_project_mounts_no_route(settings: Settings) -> None:
    class Module:
        urlpatterns = [path("", include(([our_urls[0]], "async_reply")))]

    operation = services.submit(approve)
    run_operations()
    operation.refresh_from_db()
    settings.ROOT_URLCONF = Module
    document = documents.describe(
        operation, documents._input_link(operation, Request(HttpRequest()), key=("", ""))
    )
    assert document["input_required"]["link"] is None


@pytest.mark.parametrize("name", ["approve", "unknown"])
@pytest.mark.parametrize("query", ["", "?format=html", "?format=json"])
def test_options__describe_the_view(api: APIClient, name: str, query: str) -> None:
    operation, _links = asked(api)
    url = f"/api/operations/{operation.pk}/input/{name}/{query}"
    answer = api.options(url, headers=PAGE)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    assert set(answer.json()) == {"name", "description", "renders", "parses"}


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [("text/plain", "yes", 415), ("application/json", "{", 400)],
)
def test_page__of_a_body_that_cannot_be_read(
    api: APIClient, content_type: str, body: str, status: int
) -> None:
    _operation, links = asked(api)
    answer = api.generic("POST", links["input"], body, content_type=content_type, headers=PAGE)
    assert (answer.status_code, answer["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert "<h1>" in answer.content.decode()


def test_unknown_questions(api: APIClient) -> None:
    operation, links = asked(api)
    assert api.get(links["input"].replace("approve", "other")).status_code == 404
    assert api.get(links["input"].replace(str(operation.pk), "1")).status_code == 404
    fresh = accepted(api.post("/approvals/", {}, format="json"))
    early = links["input"].replace(str(operation.pk), str(fresh.pk))
    problem = api.get(early).json()
    assert (problem["status"], problem["type"].rpartition("/")[2]) == (409, "not-asked")


def test_list__shows_what_is_asked(api: APIClient) -> None:
    asked(api)
    (row,) = api.get("/api/operations/").json()["results"]
    assert row["input_required"]["name"] == "approve"


def test_job_that_does_not_ask__costs_no_statement(
    api: APIClient, django_assert_num_queries: Any
) -> None:
    operation = services.submit(approve, owner="1")
    with django_assert_num_queries(0):
        assert documents.asked(operation) is None


class EverySerializer(serializers.Serializer[Any]):
    choice = serializers.ChoiceField(choices=["a", "b"])
    choices = serializers.MultipleChoiceField(choices=["a", "b"], required=False)
    maybe = serializers.BooleanField(allow_null=True, required=False)
    number = serializers.IntegerField(min_value=1, max_value=3, allow_null=True)
    texts = serializers.ListField(child=serializers.CharField(), required=False)
    long = serializers.CharField(max_length=1000, required=False)
    anything = serializers.JSONField(required=False)
    hidden = serializers.HiddenField(default=1)
    shown = serializers.CharField(read_only=True)


def test_schema__of_each_field() -> None:
    schema = schemas.of(EverySerializer())
    assert list(schema["properties"]) == [
        *("choice", "choices", "maybe", "number", "texts", "long", "anything"),
    ]
    assert schema["required"] == ["choice", "number"]
    assert "description" not in schema
    properties = schema["properties"]
    assert properties["choice"] == {"enum": ["a", "b"], "title": "Choice"}
    assert properties["choices"]["items"] == {"enum": ["a", "b"]}
    assert properties["maybe"]["type"] == ["boolean", "null"]
    assert properties["number"] == {
        "type": ["integer", "null"],
        "maximum": 3,
        "minimum": 1,
        "title": "Number",
    }
    assert properties["texts"] == {"type": "array", "items": {"type": "string"}}
    assert properties["long"]["maxLength"] == 1000
    assert properties["anything"] == {"title": "Anything"}
    many = schemas.of(EverySerializer(many=True))
    assert many["items"] == schema


def test_page__has_a_control_for_each_field(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation, _links = asked(api)
    asks = {"approve": EverySerializer}
    monkeypatch.setattr(approve, "kind", replace(approve.kind, asks=asks))
    browser, url = Client(), link_of(operation)
    page = browser.get(url, headers=PAGE).text
    form = {"choice": "c", "choices": ["b"], "number": "9", "anything": "{"}
    refused = browser.post(url, form, headers=PAGE)
    for control in (
        '<select id="id_choice" name="choice" required>',
        '<select id="id_choices" name="choices" multiple>',
        '<select id="id_maybe" name="maybe">',
        '<input id="id_number" name="number" type="number" value="" step="any" required>',
        '<textarea id="id_long" name="long" rows="5">',
        '<textarea id="id_texts" name="texts" rows="5">',
    ):
        assert control in page
    assert "hidden" not in page
    assert refused.status_code == 400
    assert '<option value="b" selected>' in refused.text
    assert refused.text.count('aria-invalid="true"') == 3


APPROVAL = approve.kind.asks["approve"]


def test_page__tells_errors_of_no_field() -> None:
    errors = {"non_field_errors": ["a"], "detail": "b", "approved": ["c"]}
    assert forms.other_errors(APPROVAL(), errors) == ["a", "b"]
    assert forms.other_errors(None, ["d"]) == ["d"]
    assert forms.other_errors(None, None) == []


def test_question__with_a_name_that_no_database_takes(
    api: APIClient, django_assert_num_queries: Any
) -> None:
    """PostgreSQL refuses a NUL, which a URL can hold."""
    operation, links = asked(api)
    url = links["input"].replace("/approve/", "/a%00b/")
    assert url != links["input"]
    for method in (api.get, api.post):
        assert method(url).status_code == 404
    with django_assert_num_queries(0):
        assert answers.question(operation, "a\x00b") is None


class BytesParser(BaseParser):
    """As a parser for MessagePack, which has a type for bytes."""

    media_type = "application/msgpack"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        return {"value": {"inner": b"\xff"}}


class FreeAnswer(serializers.Serializer[Any]):
    value = serializers.DictField()


def test_answer__of_a_type_that_json_lacks_is_400(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approve, "kind", replace(approve.kind, asks={"approve": FreeAnswer}))
    monkeypatch.setattr(InputView, "parser_classes", [BytesParser])
    operation, _links = asked(api)
    url = link_of(operation)
    answer = api.post(url, b"x", content_type=BytesParser.media_type)
    assert (answer.status_code, answer_of(operation)) == (400, "")
