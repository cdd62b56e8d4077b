"""Text that a job got from a client stays text in headers, pages and logs."""

from typing import Any

import pytest
from pytest_django import Settings
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.test import APIClient

from async_reply import lifecycle, services
from async_reply.attempts.jobs import Job
from async_reply.exceptions import OperationFailed
from async_reply.status import FINAL
from async_reply.tasks import operation_task
from async_reply.testing import run_operations

pytestmark = pytest.mark.django_db

TEXTS = {
    "line break": "a\r\nSet-Cookie: stolen=1\r\n\r\n<html>",
    "log line": "a\nOperation id=1 kind=x status=succeeded",
    "terminal": "\x1b[2J\x1b]0;owned\x07",
    "nul": "a\x00b",
    "bidi": "\u202egnp.exe\u2066\u200f",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "template": "{{ settings.SECRET_KEY }} {% debug %} %s %(x)s {0.__class__}",
    "lone surrogate": "a\ud800b",
    "line separators": "a\u2028b\u2029c\x85d\x0be",
    "long": "x" * 100_000,
    "path": "../../../etc/passwd",
}


@operation_task(name="tests.tell")
def tell(operation: Job, *, how: str, name: str) -> Any:
    """Return or raise the text in one of the ways a job has."""
    text = TEXTS[name]
    operation.progress(50, message=text)
    operation.check_canceled()
    match how:
        case "value":
            return {"text": text.replace("\x00", "").encode("utf-8", "ignore").decode()}
        case "detail":
            raise OperationFailed(text)
        case "code":
            raise OperationFailed("No.", code=text)
        case "api exception":
            raise PermissionDenied(text, text)
        case "fields":
            raise ValidationError({text: [text]})
        case "crash":
            raise ZeroDivisionError(text)
        case "file name":
            return operation.file(b"x", name=text)
        case "content type":
            return operation.file(b"x", name="x", content_type=text)
        case _:
            return operation.redirect(f"https://files.example.org/{text}")


WAYS = [
    "value",
    "detail",
    "code",
    "api exception",
    "fields",
    "crash",
    "file name",
    "content type",
    "redirect",
]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", TEXTS)
def test_text__of_a_job_is_shown_as_text(
    api: APIClient,
    victim: Any,
    admin_client: Any,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    how: str,
    name: str,
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "REDIRECT_HOSTS": ["files.example.org"]}
    settings.DEBUG = True
    operation = services.submit(tell, input={"how": how, "name": name}, owner=str(victim.pk))
    run_operations()
    operation.refresh_from_db()
    assert operation.status in FINAL
    base = f"/api/operations/{operation.pk}/"
    for url in (base, f"{base}monitor/", f"{base}result/", "/api/operations/"):
        response = api.get(url)
        content = b"".join(response) if response.streaming else response.content
        assert response.status_code < 500, content[:500]
        assert b"Traceback" not in content
        assert b"tests.project" not in content
        assert b"tests/hostile" not in content
        assert b"ZeroDivisionError" not in content
        for field, value in response.items():
            assert value.isprintable(), (field, value)
        assert "Set-Cookie" not in response
    page = admin_client.get(f"/admin/async_reply/operation/{operation.pk}/change/")
    assert page.status_code == 200
    assert b"<script>alert(1)" not in page.content
    assert b"<img src=x" not in page.content
    assert b"only-for-the-demo" not in page.content
    for record in caplog.records:
        assert record.getMessage().isprintable(), record.getMessage()


def test_message__of_a_running_job_is_shown_as_text(
    api: APIClient, victim: Any, admin_client: Any
) -> None:
    operation = services.submit(tell, input={"how": "", "name": ""}, owner=str(victim.pk))
    assert lifecycle.claim(operation, worker="w")
    lifecycle.beat(operation, progress=1, message=TEXTS["html"])
    poll = api.get(f"/api/operations/{operation.pk}/")
    assert poll.json()["message"] == TEXTS["html"]
    assert poll["Content-Type"] == "application/json"
    html = api.get(f"/api/operations/{operation.pk}/", headers={"Accept": "text/html"})
    for page in (
        html,
        admin_client.get("/admin/async_reply/operation/"),
        admin_client.get(f"/admin/async_reply/operation/{operation.pk}/change/"),
    ):
        assert page.status_code == 200
        assert b"<script>alert(1)" not in page.content


SECRETS = (b"Traceback (most", b"SELECT", b"sqlite", b"site-packages", b"/tests/", b"SECRET_KEY")


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/echoes/", {"number": "x"}),
        ("/echoes/", {"user": "' OR 1=1 --"}),
        ("/echoes/", {"day": "9999-99-99", "price": "NaN"}),
        ("/breakdowns/", {}),
        ("/files/", {}),
        ("/staff/", {}),
    ],
)
def test_secrets__reach_no_client(
    api: APIClient, settings: Settings, url: str, body: Any, debug: bool
) -> None:
    settings.DEBUG = debug
    response = api.post(url, body)
    contents = [response.content]
    if response.status_code == 202:
        run_operations()
        contents += [b"".join(api.get(url)) for url in response.json()["links"].values()]
    for content in contents:
        assert not [secret for secret in SECRETS if secret in content]
