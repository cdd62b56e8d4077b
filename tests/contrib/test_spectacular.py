"""The schema that drf-spectacular makes of our views."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import include, path
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from async_reply import urls
from async_reply.status import Status
from async_reply.views import LongRunningOperationMixin
from tests.project import tasks, views

pytest.importorskip("drf_spectacular", reason="needs the extra spectacular")
spectacular = pytest.importorskip("async_reply.contrib.spectacular")
extend_schema = pytest.importorskip("drf_spectacular.utils").extend_schema
drainage = pytest.importorskip("drf_spectacular.drainage")
generators = pytest.importorskip("drf_spectacular.generators")
validation = pytest.importorskip("drf_spectacular.validation")

Schema = dict[str, Any]


def schema_of(*patterns: Any) -> Schema:
    """The schema of these URLs, which is valid and was made without a warning."""
    drainage.reset_generator_stats()
    schema: Schema = generators.SchemaGenerator(patterns=list(patterns)).get_schema(public=True)
    validation.validate_schema(schema)
    assert not drainage.GENERATOR_STATS
    return schema


@pytest.fixture(autouse=True)
def schema_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set drf-spectacular's schema class. Views read DEFAULT_SCHEMA_CLASS at import only."""
    from drf_spectacular.openapi import AutoSchema
    from rest_framework.views import APIView

    monkeypatch.setattr(APIView, "schema", AutoSchema())


@pytest.fixture
def operations() -> Schema:
    paths: Schema = schema_of(path("api/", include("async_reply.urls")))["paths"]
    return paths


def parameters(operation: Schema, where: str) -> dict[str, bool]:
    """Name -> whether it is required."""
    return {
        parameter["name"]: parameter.get("required", False)
        for parameter in operation.get("parameters", [])
        if parameter["in"] == where
    }


@pytest.mark.parametrize(
    ("url", "method", "expected"),
    [
        ("", "get", {200, 302, 303, 304, 401, 403, 404, 410, 429, 503}),
        ("", "delete", {200, 202, 204, 401, 403, 404, 409, 410, 429, 503}),
        ("monitor/", "get", {200, 304, 401, 403, 404, 410, 429, 503}),
        ("cancel/", "post", {200, 202, 400, 401, 403, 404, 409, 410, 415, 429, 503}),
        ("events/", "get", {200, 204, 401, 403, 404, 410, 429, 503}),
        ("result/", "delete", {200, 202, 204, 401, 403, 404, 409, 410, 429, 503}),
    ],
)
def test_operation__has_its_answers(
    operations: Schema, url: str, method: str, expected: set[int]
) -> None:
    operation = operations[f"/api/operations/{{id}}/{url}"][method]
    assert set(map(int, operation["responses"])) == expected
    assert set(operation["responses"]["404"]["content"]) == {"application/problem+json"}
    assert parameters(operation, "path") == {"id": True}
    assert parameters(operation, "query") == {"sig": False}


def test_log__has_pages_and_streams(operations: Schema) -> None:
    operation = operations["/api/operations/{id}/log/"]["get"]
    expected = {200, 204, 400, 401, 403, 404, 410, 429, 503}
    assert set(map(int, operation["responses"])) == expected
    content = operation["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/event-stream"}
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/LogPage"}
    assert parameters(operation, "query") == {"after": False, "sig": False}
    assert parameters(operation, "header") == {"Last-Event-ID": False, "Prefer": False}


def test_result__may_be_anything(operations: Schema) -> None:
    responses = operations["/api/operations/{id}/result/"]["get"]["responses"]
    assert set(responses["200"]["content"]) == {"application/json", "*/*"}
    assert {"202", "204", "206", "302", "4XX"} < set(responses)


def test_list__has_its_filters_and_pages(operations: Schema) -> None:
    operation = operations["/api/operations/"]["get"]
    assert set(parameters(operation, "query")) == {
        "status", "kind", "created_after", "created_before", "cursor", "page_size",
    }  # fmt: skip
    page = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert page == {"$ref": "#/components/schemas/OperationPage"}


def test_submit__has_its_answers_and_headers() -> None:
    submit = schema_of(path("echoes/", views.EchoView.as_view()))["paths"]["/echoes/"]["post"]
    expected = {202, 400, 401, 403, 404, 406, 409, 410, 411, 413, 415, 422, 429, 503}
    assert set(map(int, submit["responses"])) == expected
    headers = submit["responses"]["202"]["headers"]
    assert {name for name in headers if headers[name].get("required")} == {
        "Location", "Operation-Id",
    }  # fmt: skip
    assert {"Retry-After", "Operation-Location", "Idempotent-Replayed"} < set(headers)
    assert "Retry-After" in submit["responses"]["429"]["headers"]
    assert parameters(submit, "header") == {"Idempotency-Key": False, "Prefer": False}
    assert submit["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith(
        "/EchoRequest"
    )


def test_submit__follows_the_attributes_of_the_view() -> None:
    class View(views.DressedView):
        result_serializer_class = views.EchoSerializer

    submit = schema_of(path("x/", View.as_view()))["paths"]["/x/"]["post"]
    assert parameters(submit, "header")["Idempotency-Key"] is True
    assert "Azure-AsyncOperation" in submit["responses"]["202"]["headers"]
    answer = submit["responses"]["201"]
    assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/Echo")
    assert "Content-Location" in answer["headers"]


def test_submit__with_a_callback_describes_the_message() -> None:
    schema = schema_of(path("hooked/", views.HookedView.as_view()))
    submit = schema["paths"]["/hooked/"]["post"]
    (message,) = submit["callbacks"]["operation"]["{$request.body#/callback}"].values()
    body = message["requestBody"]["content"]["application/json"]["schema"]
    assert body["$ref"].endswith("/WebhookMessage")
    assert {"2XX", "410"} == set(message["responses"])
    for content in submit["requestBody"]["content"].values():
        own, members = content["schema"]["allOf"]
        assert own["$ref"].endswith("/EchoRequest")
        assert set(members["properties"]) == {"callback", "callback_events"}


class ActionSerializer(serializers.Serializer[Any]):
    rows = serializers.IntegerField()


class Actions(LongRunningOperationMixin, ViewSet):
    serializer_class = views.EchoSerializer
    operation_headers = ["Azure-AsyncOperation"]

    @spectacular.submits(request=None, result=ActionSerializer)  # type: ignore[untyped-decorator]
    @action(detail=True, methods=["post"])
    def export(self, request: Any, pk: str = "") -> Any:
        return self.submit(request, tasks.echo, {})

    @action(detail=True, methods=["post"])
    @spectacular.submits()  # type: ignore[untyped-decorator]
    def rebuild(self, request: Any, pk: str = "") -> Any:
        return self.submit(request, tasks.echo, {})

    @extend_schema(request=None, responses={204: None})  # type: ignore[untyped-decorator]
    @action(detail=True, methods=["post"])
    def touch(self, request: Any, pk: str = "") -> Any:
        """Submits nothing."""


class PlainView(LongRunningOperationMixin, APIView):
    @spectacular.submits(request=ActionSerializer)  # type: ignore[untyped-decorator]
    def post(self, request: Any) -> Any:
        return self.submit(request, tasks.echo, {})


def test_action__that_is_marked_has_the_answers_of_a_submit() -> None:
    names = ("export", "rebuild", "touch")
    actions = [path(f"<int:pk>/{name}/", Actions.as_view({"post": name})) for name in names]
    paths = schema_of(*actions, path("plain/", PlainView.as_view()))["paths"]
    export, rebuild, touch = (paths[f"/{{id}}/{name}/"]["post"] for name in names)
    for submit in (export, rebuild, paths["/plain/"]["post"]):
        statuses = {int(status) for status in submit["responses"]}
        assert {202, 400, 410, 411, 413, 422, 429, 503} == statuses - {200}
        accepted = submit["responses"]["202"]
        assert {"Location", "Operation-Id", "Retry-After"} < set(accepted["headers"])
        assert accepted["links"]["result"] == {
            "operationId": "operation_result",
            "parameters": {"id": "$response.body#/id"},
        }
        assert parameters(submit, "header") == {"Idempotency-Key": False, "Prefer": False}
        problem = submit["responses"]["422"]["content"]
        assert set(problem) == {"application/problem+json"}
    assert "Azure-AsyncOperation" in export["responses"]["202"]["headers"]
    assert ("requestBody" in export, "requestBody" in rebuild) == (False, True)
    result = export["responses"]["200"]["content"]["application/json"]["schema"]
    assert result == {"$ref": "#/components/schemas/Action"}
    assert set(touch["responses"]) == {"204"}


def test_status__is_a_component_beside_one_of_the_project() -> None:
    class OwnSerializer(serializers.Serializer[Any]):
        status = serializers.ChoiceField(choices=["open", "closed"])

    class View(views.EchoView):
        serializer_class: Any = OwnSerializer

    schema = schema_of(path("x/", View.as_view()), path("", include("async_reply.urls")))
    components = schema["components"]["schemas"]
    assert components["OperationStatus"]["enum"] == Status.values
    assert components["StatusEnum"]["enum"] == ["open", "closed"]
    for name in ("Operation", "OperationReceipt"):
        status = components[name]["properties"]["status"]
        assert "OperationStatus" in str(status)


def test_links__name_operations_of_the_schema() -> None:
    schema = schema_of(path("echoes/", views.EchoView.as_view()), path("", include(urls)))
    methods = [method for item in schema["paths"].values() for method in item.values()]
    accepted = (method["responses"].get("202", {}) for method in methods)
    (links,) = (answer["links"] for answer in accepted if "links" in answer)
    assert {link["operationId"] for link in links.values()} < {m["operationId"] for m in methods}


class OwnDelivery(serializers.Serializer[Any]):
    """A project's own component, with fields that the webhooks have too."""

    state = serializers.ChoiceField(choices=["paid", "open"])
    event = serializers.ChoiceField(choices=["fair", "concert"])


class OwnDeliveryView(views.EchoView):
    serializer_class: Any = OwnDelivery


@pytest.mark.parametrize("own", [[], [path("own/", OwnDeliveryView.as_view())]])
def test_webhooks__have_their_answers(own: list[Any]) -> None:
    from async_reply.contrib.webhooks import serializers as real

    schema = schema_of(*own, path("api/", include("async_reply.contrib.webhooks.urls")))
    paths = {name: item for name, item in schema["paths"].items() if name != "/own/"}
    components = schema["components"]["schemas"]
    methods = [method for item in paths.values() for method in item.values()]
    assert len({method["operationId"] for method in methods}) == len(methods) == 12
    assert all(method["operationId"].startswith("webhook_") for method in methods)
    for method in methods:
        answers = {status[0] for status in method["responses"]}
        assert answers == {"2", "4", "5"}
    for name, serializer in {
        "WebhookEndpoint": real.EndpointSerializer,
        "WebhookDelivery": real.DeliverySerializer,
        "WebhookTry": real.TrySerializer,
    }.items():
        assert set(components[name]["properties"]) == set(serializer().fields), name
    made = components["WebhookNewEndpoint"]["properties"]
    assert made.keys() - components["WebhookEndpoint"]["properties"].keys() == {"secret"}


def test_command__finds_nothing_to_warn_of_in_the_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from drf_spectacular.management.commands.spectacular import Command

    options = {"urlconf": "demo_project.urls", "validate": True, "fail_on_warn": True}
    call_command(Command(), file=str(tmp_path / "schema.yaml"), **options)
    assert "Warning" not in capsys.readouterr().err
    assert "OperationReceipt" in (tmp_path / "schema.yaml").read_text()


def test_demo__has_a_schema() -> None:
    from demo_project.urls import urlpatterns

    patterns = [pattern for pattern in urlpatterns if "api/" in str(pattern.pattern)]
    paths = schema_of(*patterns)["paths"]
    assert "/api/sleeps/" in paths
    assert paths["/api/sleeps/"]["post"]["responses"]["200"]["content"]


def test_spectacular__is_no_app() -> None:
    code = (
        "from django.conf import settings; import django;"
        "settings.configure(INSTALLED_APPS=['async_reply.contrib.spectacular']); django.setup()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "remove it from INSTALLED_APPS, and import it in your URLconf." in ended.stderr
