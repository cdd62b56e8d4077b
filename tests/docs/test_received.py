"""The page about a job's input: each row of its table is sent over HTTP, and a job receives it."""

import ast
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from docutils import nodes
from docutils.core import publish_doctree
from rest_framework import serializers
from rest_framework.test import APIRequestFactory, force_authenticate

from async_reply import services
from async_reply.attempts import runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.models import Operation
from async_reply.views import LongRunningOperationView
from tests.packaging.documents import HOW_TO
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db

PAGE = HOW_TO / "what-a-job-receives.rst"
UPLOAD = "FileField()"


def rows() -> list[list[str]]:
    """Field, the value that is sent, and what the job receives, of each row of the table."""
    [table] = publish_doctree(PAGE.read_text(), str(PAGE)).findall(nodes.table)
    cells = [
        [cell.astext() for cell in row.findall(nodes.entry)] for row in table.findall(nodes.row)
    ]
    return cells[1:]


ROWS = rows()


def received(field: str, value: Any, *, format: str) -> Any:
    """The argument that a job gets when a client sends `value` for this field."""
    fields = {"value": eval(field, {**vars(serializers), "User": User})}
    serializer = type("ValueSerializer", (serializers.Serializer,), fields)
    view: Any = type(
        "ValueView", (LongRunningOperationView,), {"serializer_class": serializer, "task": echo}
    )
    user, _ = User.objects.get_or_create(pk=7, username="ada")
    request = APIRequestFactory().post("/values/", {"value": value}, format=format)
    force_authenticate(request, user)
    response = view.as_view()(request)
    assert response.status_code == 202, response.data
    received: list[Any] = []

    def job(operation: Job, *, value: Any) -> None:
        received.append(value.read() if hasattr(value, "read") else value)

    operation = Operation.objects.get(pk=response["Operation-Id"])
    runner.run(operation.pk, Kind(name=echo.name, function=job), worker="w1", inline=True)
    [arrived] = received
    return arrived


@pytest.mark.parametrize(
    ("field", "sent", "expected"), [row for row in ROWS if row[0] != UPLOAD], ids=lambda text: text
)
def test_row__is_what_a_job_receives(field: str, sent: str, expected: str) -> None:
    assert received(field, json.loads(sent), format="json") == ast.literal_eval(expected)


def test_row__of_an_upload_is_an_open_file() -> None:
    assert [row[2] for row in ROWS if row[0] == UPLOAD] == ["a file, open for reading bytes"]
    upload = SimpleUploadedFile("report.txt", b"content")
    assert received(UPLOAD, upload, format="multipart") == b"content"


def test_submit__without_http_refuses_a_model_instance() -> None:
    with pytest.raises(Exception, match="JSON does not have"):
        services.submit(echo, input={"value": User(username="ada")})
