"""JSON at the bound of its size: at the bound it is stored as a whole, above it nothing is."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django import Settings
from rest_framework.test import APIClient

from async_reply import services
from async_reply.exceptions import PayloadError, PayloadTooLarge
from async_reply.models import Operation, OperationFile
from async_reply.testing import run_operations
from async_reply.worker import beat
from tests.project import tasks, views

pytestmark = pytest.mark.django_db

#: The default bound, and the characters that fit into {"anything": ""}.
BOUND = 1024 * 1024
ROOM = BOUND - len(json.dumps({"anything": ""}))
TOO_LARGE = "1,048,577 bytes of JSON; 1,048,576 are allowed"
#: Characters of one to four bytes in UTF-8, and of up to twelve bytes in the databases' JSON.
CHARACTERS = ["x", "é", "€", "😀", "\n", '"']


def text(character: str = "x", *, beyond: int = 0) -> str:
    """`character` as often as it fits, filled up to the bound, and `beyond` bytes more."""
    size = len(json.dumps(character, ensure_ascii=False).encode()) - 2
    count, rest = divmod(ROOM, size)
    return character * count + "x" * (rest + beyond)


Bring = Callable[[dict[str, Any]], object]
WAYS: dict[str, Bring] = {
    "submit": lambda value: services.submit(tasks.echo, input=value),
    "extra": lambda value: services.submit(tasks.echo, extra=value),
    "beat": lambda value: beat.submit(tasks.echo.name, input=value),
}


@pytest.mark.parametrize("character", CHARACTERS)
@pytest.mark.parametrize("way", WAYS)
def test_bound__full_size_is_stored(way: str, character: str) -> None:
    value = {"anything": text(character)}
    WAYS[way](value)
    operation = Operation.objects.get()
    assert value == (operation.extra if way == "extra" else operation.input)


@pytest.mark.parametrize("character", CHARACTERS)
@pytest.mark.parametrize("way", WAYS)
def test_bound__one_byte_more_is_refused(way: str, character: str) -> None:
    with pytest.raises(PayloadTooLarge, match=TOO_LARGE):
        WAYS[way]({"anything": text(character, beyond=1)})
    assert not Operation.objects.exists()


def test_bound__counts_input_and_extra_apart() -> None:
    full = {"anything": text("😀")}
    services.submit(tasks.echo, input=full, extra=full)
    run_operations()
    operation = Operation.objects.get()
    assert (operation.input, operation.extra, operation.result.value) == (full, full, full)
    again = services.rerun(operation)
    again.refresh_from_db()
    assert (again.input, again.extra) == (full, full)


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), "\x00"])
@pytest.mark.parametrize("way", WAYS)
def test_bound__other_values_than_json_are_refused(way: str, value: Any) -> None:
    with pytest.raises(PayloadError):
        WAYS[way]({"anything": value})
    assert not Operation.objects.exists()


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else 0


@pytest.mark.parametrize("way", WAYS)
def test_bound__limits_the_depth(way: str) -> None:
    WAYS[way]({"anything": nested(30)})
    with pytest.raises(PayloadError, match="deeper than 31 levels"):
        WAYS[way]({"anything": nested(31)})
    assert Operation.objects.count() == 1


def assert_refused(response: Any) -> None:
    assert response.status_code == 413
    assert response["Content-Type"] == "application/problem+json"
    assert "Retry-After" not in response
    assert response.json()["title"] == "Content Too Large"
    assert TOO_LARGE in response.json()["detail"]
    assert not Operation.objects.exists()


def test_post__json_at_the_bound(api: APIClient) -> None:
    assert_refused(api.post("/echoes/", {"anything": text(beyond=1)}))
    response = api.post("/echoes/", {"anything": text()})
    assert response.status_code == 202
    assert Operation.objects.get().input == {"anything": text()}


def test_post__arguments_of_the_url_count(api: APIClient) -> None:
    room = BOUND - len(json.dumps({"anything": "", "number": 7}))
    assert_refused(api.post("/echoes/7/", {"anything": "x" * (room + 1)}))
    assert api.post("/echoes/7/", {"anything": "x" * room}).status_code == 202


def test_post__list_at_the_bound(api: APIClient) -> None:
    frame = len(json.dumps({"items": [{"anything": ""}]}))
    assert_refused(api.post("/many/", [{"anything": "x" * (BOUND - frame + 1)}]))
    assert api.post("/many/", [{"anything": "x" * (BOUND - frame)}]).status_code == 202


@pytest.mark.parametrize("uploads", [1, 2])
def test_post__form_beyond_the_bound_stores_no_file(
    api: APIClient, monkeypatch: pytest.MonkeyPatch, uploads: int
) -> None:
    """Text fields of a form count, its files do not."""
    storage = OperationFile._meta.get_field("file").storage
    saved: list[str] = []

    def save(name: str, content: Any, **_options: Any) -> str:
        saved.append(name)
        return name

    monkeypatch.setattr(storage, "save", save)
    names = [f"{number}.txt" for number in range(uploads)]
    frame = len(json.dumps({"title": "", "files": names}))

    def post(size: int) -> Any:
        files = [SimpleUploadedFile(name, b"x" * 2 * BOUND) for name in names]
        return api.post("/files/", {"title": "x" * size, "files": files}, format="multipart")

    assert_refused(post(BOUND - frame + 1))
    assert saved == []
    assert not OperationFile.objects.exists()
    assert post(BOUND - frame).status_code == 202
    assert len(saved) == uploads


def test_post__extra_beyond_the_bound(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"anything": text(beyond=1)}
    monkeypatch.setattr(views.EchoView, "get_extra", lambda self, request: extra)
    assert_refused(api.post("/echoes/", {}))
    extra["anything"] = text()
    assert api.post("/echoes/", {}).status_code == 202
    assert Operation.objects.get().extra == extra


def test_post__bound_of_the_project(api: APIClient, settings: Settings) -> None:
    settings.ASYNC_REPLY = {"MAX_INPUT": len('{"number": 123}')}
    assert api.post("/echoes/", {"number": 123}).status_code == 202
    assert api.post("/echoes/", {"number": 1234}).status_code == 413
    assert Operation.objects.count() == 1


def test_post__key_of_a_refused_request_can_be_used_again(api: APIClient) -> None:
    key = {"Idempotency-Key": "k"}
    assert_refused(api.post("/echoes/", {"anything": text(beyond=1)}, headers=key))
    assert api.post("/echoes/", {}, headers=key).status_code == 202


def test_owner__of_255_characters_is_stored() -> None:
    """OpenID Connect's `sub` may have 255 characters."""
    operation = services.submit(tasks.echo, input={"number": 7}, owner="ü" * 255)
    assert Operation.objects.get(owner="ü" * 255) == operation


def test_owner__too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="255 characters"):
        services.submit(tasks.echo, input={"number": 7}, owner="u" * 256)
    assert not Operation.objects.exists()
