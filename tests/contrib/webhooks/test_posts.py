"""One post: what it sends, which receivers make it fail, and how long it takes at most."""

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from async_reply.contrib.webhooks import posts
from async_reply.contrib.webhooks.addresses import REFUSED_ADDRESS
from tests.contrib.webhooks.certificates import contexts
from tests.contrib.webhooks.receivers import (
    Receiver,
    answering,
    dripping,
    dying,
    hanging,
    receiving,
)


def post(url: str, **options: Any) -> posts.Answer:
    return posts.post(url, b'{"a":1}', {"webhook-id": "x"}, **options)


def test_post__sends_the_message_and_reads_the_answer(receiver: Receiver) -> None:
    receiver.answer = answering(200, b"thanks")
    answer = post(receiver.url)
    assert (answer.status, answer.error, answer.body) == (200, "", "thanks")
    assert answer.is_success
    ((headers, body),) = receiver.requests
    assert body == '{"a":1}'
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == "x"


def test_post__reads_a_kilobyte_of_the_answer(receiver: Receiver) -> None:
    receiver.answer = answering(200, b"x" * 5_000_000)
    answer = post(receiver.url)
    assert answer.body == "x" * 1024
    assert answer.is_success


def test_redirect__is_not_followed(receiver: Receiver) -> None:
    with receiving() as inner:
        receiver.answer = answering(302, Location=inner.url)
        answer = post(receiver.url)
        assert answer.error == "The receiver answered 302: redirects are not followed."
        assert inner.requests == []


@pytest.mark.parametrize("answer", [hanging(5), dripping(0.02)], ids=["hangs", "drips"])
def test_slow_receiver__is_left_at_the_deadline(receiver: Receiver, answer: Any) -> None:
    receiver.answer = answer
    began_at = time.monotonic()
    failed = post(receiver.url, deadline_seconds=0.3)
    assert time.monotonic() - began_at < 2
    assert failed.error == "The receiver took longer than 0.3 seconds."
    assert not failed.is_success


def test_receiver_that_dies__fails_the_post(receiver: Receiver) -> None:
    receiver.answer = dying
    answer = post(receiver.url)
    assert (answer.status, answer.body) == (200, "half")
    assert answer.error == "The receiver ended the connection before its answer was complete."
    assert not answer.is_success


def test_endless_header__fails_the_post(receiver: Receiver) -> None:
    receiver.answer = answering(200, X="y" * 500_000)
    assert not post(receiver.url).is_success


def test_absent_receiver__fails_the_post() -> None:
    with receiving() as gone:
        pass
    assert post(gone.url).error == "The receiver cannot be connected to."


def test_plain_answer_to_tls__fails_the_post(receiver: Receiver) -> None:
    answer = post(receiver.url.replace("http:", "https:"))
    assert answer.error == "The receiver's certificate or its TLS is not valid."


@pytest.mark.parametrize("name", ["hooks.example", "hooks.example.", "HOOKS.example"])
def test_certificate__is_checked_for_the_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, client = contexts(tmp_path, "hooks.example")
    monkeypatch.setattr(posts, "_ssl_context", lambda: client)

    def answer(_host: str, port: int, *_args: Any, **_kwargs: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    with receiving(tls=server) as receiver:
        url = receiver.url.replace("http://127.0.0.1", f"https://{name}")
        assert post(url).is_success
        refused = post(url.replace(name, "127.0.0.1"))
        assert refused.error == posts.INVALID_TLS


def test_connection__goes_to_the_address_that_was_checked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second answer of the name server would lead elsewhere."""
    port = int(receiver.url.rsplit(":", 1)[1].partition("/")[0])
    looked_up: list[str] = []
    getaddrinfo = socket.getaddrinfo

    def answer(host: str, *args: Any, **kwargs: Any) -> Any:
        if host != "hooks.example":
            return getaddrinfo(host, *args, **kwargs)
        looked_up.append(host)
        inner = "127.0.0.1" if len(looked_up) == 1 else "10.255.255.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (inner, port))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    assert post(f"http://hooks.example:{port}/hook").is_success
    assert looked_up == ["hooks.example"]
    assert receiver.requests[0][0]["host"] == f"hooks.example:{port}"


def test_inner_address__is_not_connected_to(receiver: Receiver, settings: Any) -> None:
    settings.ASYNC_REPLY = {"WEBHOOK_SCHEMES": ["https", "http"]}
    for url in (receiver.url, receiver.url.replace("127.0.0.1", "localhost")):
        assert post(url).error == REFUSED_ADDRESS
    assert receiver.requests == []


def test_proxy_of_the_environment__is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert post(receiver.url).is_success
