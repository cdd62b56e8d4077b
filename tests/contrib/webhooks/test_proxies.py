"""Webhooks through a proxy: it looks names up, and everything else is checked as ever."""

import base64
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from async_reply.contrib.webhooks import posts
from async_reply.contrib.webhooks.addresses import REFUSED_ADDRESS
from tests.contrib.webhooks.certificates import contexts
from tests.contrib.webhooks.proxy import KNOWN
from tests.contrib.webhooks.receivers import Receiver, receiving

ROOT = Path(__file__).parents[3]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal"
    path.touch()
    return path


@pytest.fixture
def proxy(journal: Path, settings: Settings) -> Iterator[str]:
    """Host and port of the proxy that the setting names."""
    command = [sys.executable, "-m", "tests.contrib.webhooks.proxy", str(journal)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        address = f"127.0.0.1:{process.stdout.readline().strip()}"
        # Nothing but the proxy is on this machine.
        settings.ASYNC_REPLY = {
            "WEBHOOK_SCHEMES": ["https", "http"],
            "WEBHOOK_PROXY": f"http://{address}",
        }
        yield address
        process.kill()


def lines(journal: Path) -> list[str]:
    return [json.loads(line)["line"] for line in journal.read_text().splitlines()]


def post(url: str, **options: Any) -> posts.Answer:
    return posts.post(url, b'{"a":1}', {"webhook-id": "x"}, **options)


def named(receiver: Receiver, name: str = KNOWN) -> str:
    """The receiver's URL with a name that only the proxy knows."""
    return receiver.url.replace("127.0.0.1", name)


@pytest.fixture
def _no_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is looked up in this process."""
    monkeypatch.setattr(socket, "getaddrinfo", _only_addresses(socket.getaddrinfo))


def _only_addresses(getaddrinfo: Any) -> Any:
    def check(host: str, *args: Any, **kwargs: Any) -> Any:
        assert host == "127.0.0.1"
        return getaddrinfo(host, *args, **kwargs)

    return check


@pytest.mark.usefixtures("proxy", "_no_look_up")
def test_https__goes_through_a_tunnel_and_the_receiver_shows_its_certificate(
    tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, trusting = contexts(tmp_path, KNOWN)
    monkeypatch.setattr(posts, "_ssl_context", lambda: trusting)
    with receiving(tls=served) as receiver:
        url = named(receiver).replace("http:", "https:")
        assert post(url).is_success
    ((headers, body),) = receiver.requests
    assert (headers["host"], body) == (url.split("/")[2], '{"a":1}')
    assert lines(journal) == [f"CONNECT {headers['host']} HTTP/1.1"]


@pytest.mark.usefixtures("proxy")
def test_certificate_of_another_name__is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, trusting = contexts(tmp_path, "other.example")
    monkeypatch.setattr(posts, "_ssl_context", lambda: trusting)
    with receiving(tls=served) as receiver:
        answer = post(named(receiver).replace("http:", "https:"))
    assert answer.error == posts.INVALID_TLS
    assert receiver.requests == []


@pytest.mark.usefixtures("_no_look_up")
def test_http__is_forwarded_and_the_password_is_for_the_proxy_alone(
    proxy: str, journal: Path, receiver: Receiver, settings: Settings
) -> None:
    settings.ASYNC_REPLY["WEBHOOK_PROXY"] = f"http://ada:p%40w@{proxy}"
    assert post(named(receiver)).is_success
    ((headers, body),) = receiver.requests
    assert (headers["webhook-id"], body) == ("x", '{"a":1}')
    assert not any(name.startswith("proxy-") for name in headers)
    line = json.loads(journal.read_text())
    assert line["line"] == f"POST {named(receiver)} HTTP/1.1"
    assert line["user"] == "Basic " + base64.b64encode(b"ada:p@w").decode()


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "[::1]", "2130706433"])
def test_literal_inner_address__does_not_reach_the_proxy(host: str, journal: Path) -> None:
    assert post(f"https://{host}/").error == REFUSED_ADDRESS
    assert lines(journal) == []


@pytest.mark.usefixtures("proxy")
def test_host_that_the_proxy_refuses__fails_the_post(journal: Path) -> None:
    answer = post("https://inner.example/")
    assert answer.error == "The proxy has not connected us to the receiver."
    assert (answer.status, answer.body) == (None, "")
    assert lines(journal) == ["CONNECT inner.example:443 HTTP/1.1"]


@pytest.mark.usefixtures("proxy")
def test_proxy_that_hangs__is_left_at_the_deadline() -> None:
    answer = post("https://slow.example/", deadline_seconds=0.3)
    assert answer.error == "The receiver took longer than 0.3 seconds."


@pytest.mark.parametrize("proxy_url", ["http://127.0.0.1:1", "http://no-such-proxy.invalid:3128"])
def test_proxy_that_is_away__fails_the_post(proxy_url: str, settings: Settings) -> None:
    settings.ASYNC_REPLY = {"WEBHOOK_PROXY": proxy_url}
    assert post("https://example.org/").error == "The receiver cannot be connected to."
