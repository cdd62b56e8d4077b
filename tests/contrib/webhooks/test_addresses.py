"""Webhooks go to public addresses only, however a URL or a name server writes an inner one."""

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from async_reply.contrib.webhooks import addresses
from async_reply.contrib.webhooks.addresses import REFUSED_ADDRESS, Refused

INNER = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1"),
    *("192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "224.0.0.1"),
    *("240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1"),
    *("fd00:ec2::254", "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1", "3fff::1", "100::1"),
    # mapped, compatible, translated, NAT64, local NAT64, 6to4, Teredo
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::10.0.0.1"),
    *("::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1"),
    *("2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:7f00:1::1", "5f00::1"),
]
PUBLIC = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:93.184.215.14"]
PUBLIC += ["64:ff9b::5db8:d70e", "2002:5db8:d70e::1"]

URLS = [
    *("", "example.org", "//example.org/", "https://", "https:///hook", "ftp://example.org/"),
    *("http://example.org/", "file:///etc/passwd", "gopher://example.org/", "HTTPS:example.org"),
    *(
        "https://user:password@example.org/",
        "https://@example.org/",
        "https://example.org@10.0.0.1",
    ),
    *("https://example.org:22/", "https://example.org:0/", "https://example.org:6553600/"),
    *("https://example.org:-1/", "https://example.org:x/", "https://example.org/#part"),
    *("https://example.org\\@10.0.0.1/", "https://example.org/ x", "https://exämple.org/"),
    *("https://example.org/\r\nHost: other", "https://example.org/\x00", "https://ex%61mple.org/"),
    # what a resolver takes for an address
    *("https://127.1/", "https://2130706433/", "https://0x7f.1/", "https://0x7f000001/"),
    *("https://0177.0.0.1/", "https://127.0.0.1./", "https://1.2.3/", "https://[::1]/"),
    *("https://[::ffff:7f00:1]/", "https://[fe80::1%25eth0]/", "https://[::127.0.0.1]/"),
    *("https://169.254.169.254/latest/meta-data/", "https://[64:ff9b::7f00:1]/", "https://[v1.x]/"),
    "https://example.org/" + "x" * 2000,
]


@pytest.fixture(autouse=True)
def _defaults(settings: Settings) -> None:
    settings.ASYNC_REPLY = {}


@pytest.mark.parametrize("address", INNER)
def test_inner_address__is_refused(address: str) -> None:
    assert not addresses.is_allowed(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address__is_allowed(address: str) -> None:
    assert addresses.is_allowed(ipaddress.ip_address(address))


@pytest.mark.parametrize("url", URLS)
def test_url__is_refused(url: str) -> None:
    with pytest.raises(Refused):
        addresses.check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        *("https://example.org", "https://example.org:443/", "https://example.org:8443/a?b=c"),
        *("https://sub-domain.example.org/", "https://93.184.215.14/", "https://EXAMPLE.org./"),
        "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
    ],
)
def test_url__is_taken(url: str) -> None:
    addresses.check_url(url)


def test_http__needs_the_setting(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"WEBHOOK_SCHEMES": ["https", "http"]}
    addresses.check_url("http://example.org/")


def test_network__is_allowed_by_the_setting(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"WEBHOOK_NETWORKS": ["10.1.2.0/24", "fd00::/8"]}
    assert addresses.is_allowed(ipaddress.ip_address("10.1.2.3"))
    assert addresses.is_allowed(ipaddress.ip_address("fd00::1"))
    assert not addresses.is_allowed(ipaddress.ip_address("10.1.3.3"))
    # the same address in another form is not named
    assert not addresses.is_allowed(ipaddress.ip_address("::ffff:10.1.2.3"))


def answers(*found: str) -> Any:
    rows = [(0, socket.SOCK_STREAM, 0, "", (address, 443)) for address in found]
    return lambda *_args, **_kwargs: rows


def test_name__is_refused_if_one_of_its_addresses_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers("93.184.215.14", "10.0.0.1"))
    with pytest.raises(Refused, match=REFUSED_ADDRESS):
        addresses.resolve("example.org", 443, timeout=5)


def test_name__gives_its_addresses_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers("93.184.215.14", "93.184.215.14"))
    found = addresses.resolve("example.org", 443, timeout=5)
    assert [str(address) for address in found] == ["93.184.215.14"]


def test_unknown_name__gets_the_text_of_a_refused_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(Refused, match=REFUSED_ADDRESS):
        addresses.resolve("nowhere.example", 443, timeout=5)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The name server answers nothing until the event is set."""
    free = threading.Event()

    def hang(*_args: Any, **_kwargs: Any) -> Any:
        free.wait(60)
        return answers("93.184.215.14")()

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield free
    free.set()


def look_ups() -> int:
    return sum(thread.name == "async_reply-resolver" for thread in threading.enumerate())


def test_name_server_that_hangs__is_not_waited_for(hanging: threading.Event) -> None:
    with pytest.raises(TimeoutError):
        addresses.resolve("example.org", 443, timeout=0.05)


def test_name_server_that_hangs__costs_a_bounded_number_of_threads(
    hanging: threading.Event,
) -> None:
    for _ in range(addresses.MAX_LOOK_UPS):
        with pytest.raises(TimeoutError):
            addresses.resolve("example.org", 443, timeout=0.001)
    assert look_ups() == addresses.MAX_LOOK_UPS
    with pytest.raises(addresses.Overloaded):
        addresses.resolve("example.org", 443, timeout=5)
    assert look_ups() == addresses.MAX_LOOK_UPS
    # An address needs no look-up.
    assert addresses.resolve("93.184.215.14", 443, timeout=5)
    hanging.set()
    give_up = time.monotonic() + 60
    while look_ups() and time.monotonic() < give_up:
        time.sleep(0.01)
    assert addresses.resolve("example.org", 443, timeout=60)
