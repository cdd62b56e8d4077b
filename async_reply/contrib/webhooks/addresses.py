"""Decides to which URLs and addresses webhooks are sent: to public ones only.

A client chooses the URL. Without these rules it could reach services inside our network (SSRF).
Python's `is_global` alone is not enough: Python 3.11 calls some addresses global that lead inside.
"""

import ipaddress
import re
import socket
import threading
from concurrent.futures import Future
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any
from urllib.parse import SplitResult, urlsplit

from async_reply import conf

Address = IPv4Address | IPv6Address
MAX_URL_LENGTH = 2000
#: The ports of HTTP, and those above which no service of a system listens.
WELL_KNOWN_PORTS = frozenset({80, 443})
FIRST_FREE_PORT = 1024
#: One text for all addresses and for names without one: it tells nothing of our network.
REFUSED_ADDRESS = "This host has no address that webhooks may be sent to."

#: IPv6 networks whose addresses contain an IPv4 address, and the bit at which it begins.
EMBEDDING: tuple[tuple[IPv6Network, int], ...] = (
    (IPv6Network("::ffff:0:0/96"), 96),  # mapped (RFC 4291, section 2.5.5.2)
    (IPv6Network("::/96"), 96),  # compatible (RFC 4291, section 2.5.5.1)
    (IPv6Network("::ffff:0:0:0/96"), 96),  # translated (RFC 2765, section 2.1)
    (IPv6Network("64:ff9b::/96"), 96),  # NAT64 (RFC 6052, section 2.1)
    (IPv6Network("2002::/16"), 16),  # 6to4 (RFC 3056, section 2)
)
#: Networks that are not public, whatever this version of Python says.
INNER: tuple[IPv4Network | IPv6Network, ...] = (
    IPv6Network("fec0::/10"),  # site-local (RFC 3879)
    IPv6Network("64:ff9b:1::/48"),  # local NAT64 (RFC 8215)
    IPv6Network("2001::/23"),  # protocols, Teredo among them (RFC 2928)
    IPv6Network("100::/64"),  # discarded (RFC 6666)
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
    IPv6Network("5f00::/16"),  # segment routing (RFC 9602)
    IPv4Network("192.88.99.0/24"),  # relays of 6to4 (RFC 7526)
    IPv4Network("192.0.0.0/24"),  # protocols (RFC 6890)
)


#: Names that one process looks up at a time. Each costs a thread for as long as its resolver hangs.
MAX_LOOK_UPS = 50
_look_ups = threading.BoundedSemaphore(MAX_LOOK_UPS)


class Overloaded(Exception):
    """So many look-ups hang that no other is begun: the message is to be sent later."""


class Refused(Exception):
    """The URL may not be used. The message is for the owner, and tells nothing of our network."""


def check_url(url: str) -> SplitResult:
    """Check all that a URL says by itself, and return its parts. No name is looked up.

    Raises Refused.
    """
    if len(url) > MAX_URL_LENGTH or not re.fullmatch(r"[!-~]+", url) or "\\" in url:
        raise Refused(f"Use a URL of at most {MAX_URL_LENGTH} printable ASCII characters.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("This is no valid URL.") from None
    if parts.scheme not in conf.get("WEBHOOK_SCHEMES"):
        raise Refused("Use a URL that begins with https://.")
    if "@" in parts.netloc:
        raise Refused("Leave user and password out of the URL: webhooks are signed.")
    if "#" in url:
        raise Refused("Leave the fragment out of the URL.")
    host = parts.hostname or ""
    name = r"[0-9a-f:.]+" if "[" in parts.netloc else r"[a-z0-9._-]+"
    if not re.fullmatch(name, host):
        raise Refused("This is no valid URL.")
    if port is not None and port not in WELL_KNOWN_PORTS and port < FIRST_FREE_PORT:
        raise Refused("Use port 443, or one above 1023.")
    _check_host(host)
    return parts


def _check_host(host: str) -> None:
    """Refuse a literal address that is not allowed, and what only looks like a name.

    The system's resolver takes "127.1", "0x7f.1" and "2130706433" for addresses. No public name
    ends in a number.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if ":" in host:
            raise Refused("This is no valid URL.") from None
        last = host.rstrip(".").rpartition(".")[2]
        if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last):
            raise Refused(REFUSED_ADDRESS) from None
        return
    if not is_allowed(address):
        raise Refused(REFUSED_ADDRESS)


def is_allowed(address: Address) -> bool:
    """Whether webhooks may be sent to this address: it is public, or the project allows it."""
    for network in _allowed_networks():
        if address.version == network.version and address in network:
            return True
    return is_public(address)


def is_public(address: Address) -> bool:
    """Whether the address, and each address that it contains, is on the public Internet."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        for network, first_bit in EMBEDDING:
            if address in network:
                inner = IPv4Address((int(address) >> (128 - 32 - first_bit)) & 0xFFFFFFFF)
                return is_public(inner)
    if any(address.version == network.version and address in network for network in INNER):
        return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_private
        and not address.is_reserved
        and not address.is_unspecified
        and not address.is_loopback
        and not address.is_link_local
    )


def _allowed_networks() -> list[Any]:
    return [ipaddress.ip_network(network) for network in conf.get("WEBHOOK_NETWORKS")]


def resolve(host: str, port: int, *, timeout: float) -> list[Address]:
    """The addresses of a host, in the resolver's order. All of them are allowed.

    Raises Refused if one is not allowed or there is none, TimeoutError if the resolver hangs, and
    Overloaded.
    """
    addresses = look_up(host, port, timeout=timeout)
    if not addresses or not all(map(is_allowed, addresses)):
        raise Refused(REFUSED_ADDRESS)
    return addresses


def look_up(host: str, port: int, *, timeout: float) -> list[Address]:
    """The addresses of a host, allowed or not; none for an unknown name.

    Raises TimeoutError if the resolver hangs, and Overloaded.
    """
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    try:
        answers = _ask(host, port, timeout=timeout)
    except TimeoutError:
        raise
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(ipaddress.ip_address(answer[4][0]) for answer in answers))


def _ask(host: str, port: int, *, timeout: float) -> list[Any]:
    """`getaddrinfo`, in a thread of its own: it has no timeout."""
    if not _look_ups.acquire(blocking=False):
        raise Overloaded
    result: Future[list[Any]] = Future()

    def ask() -> None:
        try:
            result.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except BaseException as error:  # noqa: BLE001 raised in the thread that waits for it
            result.set_exception(error)
        finally:
            _look_ups.release()

    threading.Thread(target=ask, name="async_reply-resolver", daemon=True).start()
    return result.result(max(0.0, timeout))
