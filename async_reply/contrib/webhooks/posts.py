"""Posts one message to one URL: to a checked address, without redirects, within a deadline.

The address that was checked is the one that is connected to, so a name cannot change in between.
TLS and the Host header still have the name. Through the proxy of WEBHOOK_PROXY it is the proxy that
looks the name up. No environment variable names a proxy.
"""

import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import httpcore
from httpcore import NetworkBackend, NetworkStream

from async_reply import conf
from async_reply.contrib.webhooks import addresses
from async_reply.logs import mask
from async_reply.protocol.headers import CONTENT_TYPE, RETRY_AFTER

#: Seconds for all of one post: the name, the connection, TLS, the request and the answer.
DEADLINE_SECONDS = 10.0
#: Bytes of the answer that are read. The ledger keeps them.
ANSWER_BYTES = 1024
#: Bytes of one answer's header lines and body, as they come from the network.
MAX_RECEIVED_BYTES = 128 * 1024
HTTP_OK, HTTP_REDIRECT = 200, 300
INVALID_TLS = "The receiver's certificate or its TLS is not valid."


@dataclass(frozen=True)
class Answer:
    """The outcome of one post."""

    #: The HTTP status; None without an answer.
    status: int | None
    #: Why it failed, for the owner; '' after a success.
    error: str
    #: The beginning of the body.
    body: str
    seconds: float
    retry_after: str = ""
    #: Nothing was tried.
    is_postponed: bool = False

    @property
    def is_success(self) -> bool:
        return self.status is not None and HTTP_OK <= self.status < HTTP_REDIRECT and not self.error


def post(
    url: str,
    content: bytes,
    headers: Mapping[str, str],
    *,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Answer:
    """Post `content`, and return the answer, or why there is none. Raises nothing."""
    began_at = time.monotonic()
    clock = _Clock(began_at + deadline_seconds)
    status: int | None = None
    error, body, retry_after = "", b"", ""
    is_postponed = False
    try:
        for response, chunk in _exchange(url, content, headers, clock):
            status = response.status
            body += chunk[: ANSWER_BYTES - len(body)]
            retry_after = _header(response, RETRY_AFTER)
    except addresses.Overloaded:
        error, is_postponed = "Our name server does not answer.", True
    except Exception as failure:  # noqa: BLE001 the ledger has a line for each try
        error = _reason(failure, deadline_seconds)
    if not error and status is not None and not HTTP_OK <= status < HTTP_REDIRECT:
        error = f"The receiver answered {status}."
        if HTTP_REDIRECT <= status < 400:
            error = f"The receiver answered {status}: redirects are not followed."
    # A receiver may echo a whole document, whose links open the operation.
    text = mask(body.decode(errors="replace").replace("\x00", "�"))
    seconds = time.monotonic() - began_at
    return Answer(status, error, text, seconds, retry_after, is_postponed)


def _reason(failure: Exception, deadline_seconds: float) -> str:
    """Why there is no complete answer, for the owner."""
    if isinstance(failure, addresses.Refused):
        return str(failure)
    if isinstance(failure, TimeoutError | httpcore.TimeoutException):
        return f"The receiver took longer than {deadline_seconds:g} seconds."
    if isinstance(failure, httpcore.ConnectError):
        is_tls = isinstance(failure.__cause__ or failure.__context__, ssl.SSLError)
        return INVALID_TLS if is_tls else "The receiver cannot be connected to."
    if isinstance(failure, httpcore.ProxyError):
        return "The proxy has not connected us to the receiver."
    if isinstance(failure, httpcore.NetworkError | httpcore.ProtocolError | OSError):
        return "The receiver ended the connection before its answer was complete."
    return "The message could not be sent."


def _exchange(url: str, content: bytes, headers: Mapping[str, str], clock: "_Clock") -> Any:
    """The response with each part of its body, up to ANSWER_BYTES."""
    pool = _pool(addresses.check_url(url), clock)
    sent = {"User-Agent": "async_reply", CONTENT_TYPE: "application/json", **headers}
    target = urlsplit(url)._replace(fragment="").geturl()
    with pool, pool.stream("POST", target, headers=list(sent.items()), content=content) as response:
        yield response, b""
        received = 0
        for chunk in response.iter_stream():
            yield response, chunk
            received += len(chunk)
            if received >= ANSWER_BYTES:
                break


def _pool(receiver: SplitResult, clock: "_Clock") -> httpcore.ConnectionPool:
    """Connects to the receiver's checked addresses, or to the proxy."""
    proxy = conf.get("WEBHOOK_PROXY")
    peer = urlsplit(proxy) if proxy else receiver
    port = peer.port or (443 if peer.scheme == "https" else 80)
    # The project trusts its proxy, whose address may be an inner one.
    find = addresses.look_up if proxy else addresses.resolve
    pinned = [str(address) for address in find(peer.hostname or "", port, timeout=clock.left())]
    options: dict[str, Any] = {
        "ssl_context": _ssl_context() if receiver.scheme == "https" else None,
        "network_backend": _PinnedBackend(pinned, clock),
        "max_connections": 1,
        "max_keepalive_connections": 0,
    }
    if not proxy:
        return httpcore.ConnectionPool(**options)
    has_user = peer.username is not None
    return httpcore.HTTPProxy(
        peer._replace(netloc=peer.netloc.rpartition("@")[2]).geturl(),
        proxy_auth=(unquote(peer.username or ""), unquote(peer.password or ""))
        if has_user
        else None,
        proxy_ssl_context=_ssl_context() if peer.scheme == "https" else None,
        **options,
    )


def _header(response: httpcore.Response, name: str) -> str:
    wanted = name.lower().encode()
    values = [value for key, value in response.headers if key.lower() == wanted]
    return values[0].decode("latin-1") if values else ""


@cache
def _ssl_context() -> ssl.SSLContext:
    """Trusts the authorities of the system and those of certifi."""
    context = httpcore.default_ssl_context()
    context.load_default_certs()
    return context


class _Clock:
    """Counts down to the deadline of one post."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def left(self) -> float:
        """The seconds that are left. Raises TimeoutError when there are none."""
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds


class _PinnedBackend(NetworkBackend):
    """Connects to the checked addresses, one after the other, whatever the name says now."""

    def __init__(self, hosts: list[str], clock: _Clock) -> None:
        self._hosts = hosts
        self._clock = clock
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> NetworkStream:
        for place, address in enumerate(self._hosts):
            try:
                # Further addresses get their share of the time.
                share = self._clock.left() / (len(self._hosts) - place)
                stream = self._backend.connect_tcp(address, port, timeout=share)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if place == len(self._hosts) - 1:
                    raise
            else:
                return _TimedStream(stream, self._clock)
        raise httpcore.ConnectError

    def connect_unix_socket(self, *_args: Any, **_kwargs: Any) -> NetworkStream:
        raise httpcore.ConnectError

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, self._clock.left()))


class _TimedStream(NetworkStream):
    """Ends each wait at the deadline of the post, and reads a bounded number of bytes.

    A receiver that sends one byte each second would keep a plain timeout from ever ending.
    """

    def __init__(self, stream: NetworkStream, clock: _Clock, received: int = 0) -> None:
        self._stream = stream
        self._clock = clock
        self._received = received

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, timeout=self._clock.left())
        self._received += len(data)
        if self._received > MAX_RECEIVED_BYTES:
            raise httpcore.RemoteProtocolError("The answer is too large.")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=self._clock.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> NetworkStream:
        # No certificate and no SNI has the dot at the end of a full name (RFC 6066, section 3).
        name = server_hostname and server_hostname.rstrip(".")
        stream = self._stream.start_tls(ssl_context, name, timeout=self._clock.left())
        return _TimedStream(stream, self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
