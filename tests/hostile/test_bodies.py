"""Malformed bodies are answered by a problem document; nothing is stored, no error is logged."""

import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIHandler
from pytest_django import Settings
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from async_reply.models import Operation, OperationFile

pytestmark = pytest.mark.django_db

PROBLEM = "application/problem+json"
JSON = "application/json"
FORM = "multipart/form-data; boundary=b"

DEEP = 100_000


def part(disposition: str, content: bytes = b"x", more: str = "") -> bytes:
    head = f"--b\r\nContent-Disposition: form-data; {disposition}\r\n{more}\r\n"
    return head.encode("utf-8", "surrogateescape") + content + b"\r\n"


END = b"--b--\r\n"

BODIES: dict[str, tuple[str, bytes, str]] = {
    "nan": ("/echoes/", b'{"anything": NaN}', JSON),
    "infinity": ("/echoes/", b'{"anything": [-Infinity, 1e999]}', JSON),
    "float that is infinite": ("/echoes/", b'{"anything": 1e999}', JSON),
    "nul": ("/echoes/", b'{"anything": "a\\u0000b"}', JSON),
    "nul in a key": ("/echoes/", b'{"anything": {"a\\u0000": 1}}', JSON),
    "bare nul": ("/echoes/", b"\x00", JSON),
    "lone surrogate": ("/echoes/", b'{"anything": "\\udfff"}', JSON),
    "lone surrogate in a key": ("/echoes/", b'{"anything": {"\\ud800": 1}}', JSON),
    "integer of a million digits": ("/echoes/", b'{"number": ' + b"9" * 1_000_000 + b"}", JSON),
    "integer for a database": ("/echoes/", b'{"anything": ' + b"9" * 5_000 + b"}", JSON),
    "decimal of a million digits": ("/echoes/", b'{"price": "' + b"9" * 999_999 + b'"}', JSON),
    "exponent": ("/echoes/", b'{"price": "1e99999999"}', JSON),
    "number as exponent": ("/echoes/", b'{"number": "1e999999999"}', JSON),
    "deep lists": ("/echoes/", b'{"anything":' + b"[" * DEEP + b"]" * DEEP + b"}", JSON),
    "deep objects": ("/echoes/", b'{"a":' * DEEP + b"1" + b"}" * DEEP, JSON),
    "depth within the limit of the parser": (
        "/echoes/",
        b'{"anything":' + b"[" * 900 + b"]" * 900 + b"}",
        JSON,
    ),
    "unclosed": ("/echoes/", b"[" * DEEP, JSON),
    "not utf-8": ("/echoes/", b'{"anything": "\xff\xfe"}', JSON),
    "utf-16": ("/echoes/", '{"anything": 1}'.encode("utf-16"), JSON),
    "not json": ("/echoes/", b"<html>", JSON),
    "scalar": ("/echoes/", b"7", JSON),
    "null": ("/echoes/", b"null", JSON),
    "too large": ("/echoes/", b'{"anything": "' + b"x" * 3_000_000 + b'"}', JSON),
    "empty type": ("/echoes/", b"{}", ""),
    "malformed type": ("/echoes/", b"{}", ";;;/,\xe9"),
    "truncated multipart": ("/files/", part('name="title"')[:-20], FORM),
    "wrong boundary": ("/files/", part('name="title"') + END, "multipart/form-data; boundary=c"),
    "no boundary": ("/files/", part('name="title"') + END, "multipart/form-data"),
    "malformed boundary": ("/files/", END, "multipart/form-data; boundary=\xe9\x00"),
    "long boundary": ("/files/", END, "multipart/form-data; boundary=" + "b" * 10_000),
    "10,000 fields": (
        "/files/",
        b"".join(part(f'name="f{n}"') for n in range(10_000)) + END,
        FORM,
    ),
    "10,000 files": (
        "/files/",
        b"".join(part(f'name="files"; filename="{n}"') for n in range(10_000)) + END,
        FORM,
    ),
    "malformed base64": (
        "/files/",
        part('name="title"', b"!!!!!", "Content-Transfer-Encoding: base64\r\n") + END,
        FORM,
    ),
    "field not utf-8": ("/files/", part('name="ti\udcfftle"', b"\xff\xfe") + END, FORM),
    "long header of a part": ("/files/", part(f'name="{"n" * 100_000}"') + END, FORM),
    "empty": ("/files/", b"", FORM),
}


def post(api: APIClient, url: str, body: Any, content_type: str) -> Any:
    return api.generic("POST", url, body, content_type=content_type)


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("debug", [False, True])
def test_body__malformed_is_a_problem(
    api: APIClient,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    name: str,
    debug: bool,
) -> None:
    settings.DEBUG = debug
    url, body, content_type = BODIES[name]
    response = post(api, url, body, content_type)
    assert response.status_code in {400, 413, 415}, response.content[:300]
    assert response["Content-Type"] == PROBLEM
    assert response.json()["status"] == response.status_code
    assert not Operation.objects.exists()
    assert not OperationFile.objects.exists()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("charset", ["no-such", "base64", "rot13", "utf-16", '"', "x" * 5_000])
def test_body__of_any_charset_is_accepted_or_a_problem(
    api: APIClient, charset: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = post(api, "/echoes/", b'{"number": 7}', f"application/json; charset={charset}")
    assert response.status_code in {202, 400, 415}
    assert response.status_code == 202 or response["Content-Type"] == PROBLEM
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_body__huge_integer_is_kept_exactly(api: APIClient) -> None:
    number = 10**300
    response = api.generic("POST", "/echoes/", json.dumps({"anything": number}), content_type=JSON)
    assert response.status_code in {202, 400}
    if response.status_code == 202:
        assert Operation.objects.get().input == {"anything": number}


NAMES = [
    "../../etc/passwd",
    "..",
    "a\\..\\..\\b.txt",
    "a\r\nSet-Cookie: x=1.txt",
    "a\x00.txt",
    "\u202egnp.exe",
    "<script>alert(1)</script>.html",
    "é" * 500,
    ".htaccess",
    "con",
    " ",
    '"; filename="other',
]


@pytest.mark.parametrize("name", NAMES)
def test_upload__name_is_harmless_in_path_and_header(
    api: APIClient, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    body = part('name="title"', b"t") + part(f'name="files"; filename="{quoted}"') + END
    response = post(api, "/files/", body, FORM)
    assert response.status_code in {202, 400}
    for row in OperationFile.objects.all():
        assert row.name.isprintable()
        assert not set(row.name) & set('/\\<>"\r\n\x00')
        assert len(row.name.encode()) <= 100
        assert not row.name.startswith(".")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


class Broken(io.BytesIO):
    """The body of a client that leaves while it sends."""

    def read(self, *_: Any) -> bytes:
        raise ConnectionResetError("connection reset by peer 10.0.0.1")

    readline = readlines = read  # type: ignore[assignment]


WRONG_LENGTHS: list[tuple[str, Any, str]] = [
    ("1000", b'{"number": 7}', JSON),
    ("3", b'{"number": 7}', JSON),
    ("abc", b'{"number": 7', JSON),
    ("-1", b'{"number": 7', JSON),
    ("9" * 400, b'{"number": 7', JSON),
    ("13", Broken(), JSON),
    ("13", Broken(), FORM),
    ("9999999", part('name="title"'), FORM),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("length", "body", "content_type"), WRONG_LENGTHS)
@pytest.mark.parametrize("url", ["/echoes/", "/files/"])
def test_length__that_is_wrong_is_no_error_of_ours(
    user: Any,
    caplog: pytest.LogCaptureFixture,
    url: str,
    length: str,
    body: Any,
    content_type: str,
) -> None:
    """Sent to Django's own handler, since a test client computes the length itself."""
    status_lines: list[str] = []

    def start(status: str, headers: Any, error: Any = None) -> Callable[[bytes], object]:
        status_lines.append(status)
        return lambda data: None

    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": url,
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": length,
        "HTTP_AUTHORIZATION": f"Token {Token.objects.create(user=user)}",
        "wsgi.input": io.BytesIO(body) if isinstance(body, bytes) else body,
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
    }
    response = WSGIHandler()(environ, start)
    b"".join(response)
    assert 200 <= int(status_lines[0].split()[0]) < 500
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
