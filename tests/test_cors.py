"""The headers that a page of another origin may read and send."""

import re
from pathlib import Path

import pytest
from rest_framework.test import APIClient

from async_reply import cors
from async_reply.models import Operation

GOLDEN = Path(__file__).parent / "golden"
#: Headers that need not be exposed (Fetch, "CORS-safelisted response-header name").
SAFE = {
    "Cache-Control", "Content-Language", "Content-Length", "Content-Type", "Expires",
    "Last-Modified", "Pragma",
}  # fmt: skip
#: Headers for browsers, caches and proxies.
NOT_FOR_PAGES = {
    "Access-Control-Expose-Headers", "Allow", "Content-Security-Policy", "Vary",
    "WWW-Authenticate", "X-Accel-Buffering",
}  # fmt: skip
#: A header from a project's get_accepted_headers.
OF_THE_PROJECT = {"X-Kind"}


def test_exposed__contains_each_header_of_the_golden_files() -> None:
    answers = "\n".join(path.read_text() for path in GOLDEN.glob("*.http"))
    heads = re.findall(r"^\d{3} .+\n((?:[\w-]+: .*\n)+)", answers, re.MULTILINE)
    names = {name for head in heads for name in re.findall(r"^([\w-]+): ", head, re.MULTILINE)}
    assert {"Location", "Retry-After", "ETag"} < names
    assert names - SAFE - NOT_FOR_PAGES - OF_THE_PROJECT - set(cors.EXPOSED) == set()


def test_lists__are_complete() -> None:
    assert {
        *("Location", "Operation-Location", "Azure-AsyncOperation", "Operation-Id", "Retry-After"),
        *("ETag", "Link", "Content-Location", "Preference-Applied", "Idempotent-Replayed"),
        *("Repeatability-Result", "Accept-Ranges", "Content-Range", "Content-Disposition"),
    } == set(cors.EXPOSED)
    assert set(cors.ALLOWED) == {"idempotency-key", "prefer", "last-event-id", "if-none-match"}


@pytest.mark.django_db
def test_exposed__answers_to_a_page_name_them(api: APIClient, running: Operation) -> None:
    url = f"/api/operations/{running.pk}/"
    name = "Access-Control-Expose-Headers"
    for path in (url, f"{url}monitor/", f"{url}result/", "/api/operations/", "/api/operations/x/"):
        assert name not in api.get(path)
        field = api.get(path, headers={"Origin": "https://page.example"})[name]
        assert "Operation-Location" in field.split(", ")
