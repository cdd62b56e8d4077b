"""The schema that drf-spectacular makes of our views."""

from typing import Any

import pytest
from django.urls import include, path

from tests.project import views

pytest.importorskip("drf_spectacular", reason="needs the extra spectacular")
spectacular = pytest.importorskip("async_reply.contrib.spectacular")
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
        ("", "get", {200, 302, 304, 401, 403, 404, 410, 429, 503}),
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
    expected = {202, 400, 401, 403, 404, 406, 409, 410, 413, 415, 422, 429, 503}
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


def test_demo__has_a_schema() -> None:
    from demo_project.urls import urlpatterns

    patterns = [pattern for pattern in urlpatterns if "api/" in str(pattern.pattern)]
    paths = schema_of(*patterns)["paths"]
    assert "/api/sleeps/" in paths
    assert paths["/api/sleeps/"]["post"]["responses"]["200"]["content"]
