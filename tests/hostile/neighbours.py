"""Clients that take more than their share, and good clients on the same server."""

import base64
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx

from tests.stacks.stack import Stack

#: Makes the users, and prints the key of Sam's session.
PREPARE = """
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from rest_framework.authtoken.models import Token
for name in ("ada", "eve", "bob", "sam"):
    user = get_user_model().objects.create_user(name, password="right")
    Token.objects.create(user=user, key=name)
store = import_module(settings.SESSION_ENGINE).SessionStore()
store[SESSION_KEY] = str(user.pk)
store[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
store[HASH_SESSION_KEY] = user.get_session_auth_hash()
store.create()
print("KEY", store.session_key)
"""


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@dataclass(frozen=True)
class Site:
    """A server, and the credentials of the three good clients."""

    port: int
    session: str

    @property
    def good(self) -> dict[str, dict[str, str]]:
        return {
            "token": {"Authorization": "Token ada"},
            "session": {"Cookie": f"sessionid={self.session}"},
            "Basic": {"Authorization": basic("bob", "right")},
        }

    def client(self, fields: dict[str, str]) -> httpx.Client:
        url = f"http://127.0.0.1:{self.port}"
        return httpx.Client(base_url=url, headers=fields, timeout=60)

    def submit(self, name: str, number: int = 1) -> list[str]:
        """Submit operations of a user, and return their paths."""
        with self.client({"Authorization": f"Token {name}"}) as client:
            answers = [client.post("/echoes/", json={}) for _ in range(number)]
        return [f"/api/operations/{answer.json()['id']}/" for answer in answers]

    def cancel(self, name: str, paths: list[str]) -> None:
        with self.client({"Authorization": f"Token {name}"}) as client:
            for path in paths:
                assert client.post(f"{path}cancel/").status_code == 200

    def connect(self, message: str | bytes) -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        opened.sendall(message if isinstance(message, bytes) else message.encode())
        return opened


def prepare(stack: Stack) -> str:
    """Make the users, and return the key of Sam's session."""
    return stack.manage("shell", "-c", PREPARE).split("KEY ")[1].split()[0]


def get(path: str, *fields: str) -> str:
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *fields]
    return "\r\n".join(lines) + "\r\n\r\n"


@contextmanager
def connected(site: Site, messages: list[str]) -> Iterator[list[socket.socket]]:
    """Connections, one for each message, which is sent over it."""
    with ExitStack() as opened:
        yield [opened.enter_context(site.connect(message)) for message in messages]


Behaviour = Callable[[Site], Iterator[None]]
WISH = "Prefer: wait=30"


def guesses_and_leaves(site: Site) -> Iterator[None]:
    """Different wrong passwords, by clients that leave before the answer."""
    (path,) = site.submit("eve")
    for number in range(80):
        guess = f"Authorization: {basic('eve', str(number))}"
        site.connect(get(f"{path}monitor/", guess, WISH)).close()
    yield


def guesses_and_stays(site: Site) -> Iterator[None]:
    """Different wrong passwords, by clients that wait for the answer."""
    (path,) = site.submit("eve")
    guesses = [f"Authorization: {basic('eve', str(number))}" for number in range(50)]
    with connected(site, [get(f"{path}monitor/", guess, WISH) for guess in guesses]):
        yield


def guesses_once(site: Site) -> Iterator[None]:
    """The same wrong password, many times."""
    (path,) = site.submit("eve")
    message = get(f"{path}events/", f"Authorization: {basic('eve', 'wrong')}")
    with connected(site, [message] * 60):
        yield


def reads_streams_with_slow_credentials(site: Site) -> Iterator[None]:
    """Forty streams with credentials that take long to check, and events on all at once."""
    paths = site.submit("eve", 40)
    right = f"Authorization: {basic('eve', 'right')}"
    with connected(site, [get(f"{path}events/", right) for path in paths]) as streams:
        for stream in streams[:10]:
            assert stream.recv(100)
        site.cancel("eve", paths)
        yield


def ends_all_waits_at_once(site: Site) -> Iterator[None]:
    """Forty waits with credentials that take long to check, which are over at the same time."""
    paths = site.submit("eve", 40)
    right = f"Authorization: {basic('eve', 'right')}"
    messages = [get(f"{path}monitor/", right, "Prefer: wait=8") for path in paths]
    with connected(site, messages) as waiting:
        waiting[0].recv(100)
        yield


def announces_bodies(site: Site) -> Iterator[None]:
    """GETs whose fields announce a body; they wait like other GETs."""
    (path,) = site.submit("eve")
    right = f"Authorization: {basic('eve', 'right')}"
    fields = ["Content-Length: 0", "Content-Length: 9", "Transfer-Encoding: chunked"]
    fields += ["Expect: 100-continue", "Content-Type: text/plain"]
    messages = [get(f"{path}monitor/", right, WISH, field) for field in fields * 10]
    with connected(site, messages):
        yield


def reads_nothing(site: Site) -> Iterator[None]:
    """Streams whose clients do not read."""
    paths = site.submit("eve", 40)
    messages = [get(f"{path}events/", "Authorization: Token eve") for path in paths * 2]
    with connected(site, messages):
        site.cancel("eve", paths)
        yield


def sends_large_fields(site: Site) -> Iterator[None]:
    """Waits with 60 kB of header fields and wrong tokens."""
    (path,) = site.submit("eve")
    large = f"X-Large: {'x' * 60_000}"
    messages = [
        get(f"{path}monitor/", f"Authorization: Token eve{n}", WISH, large) for n in range(60)
    ]
    with connected(site, messages):
        yield


def pipelines_waits(site: Site) -> Iterator[None]:
    """Ten waits on each connection, all sent before the first answer."""
    (path,) = site.submit("eve")
    message = get(f"{path}monitor/", f"Authorization: {basic('eve', 'right')}", WISH)
    with connected(site, [message * 10] * 10):
        yield


def closes_half(site: Site) -> Iterator[None]:
    """Waits by clients that close their sending half of the connection."""
    (path,) = site.submit("eve")
    message = get(f"{path}monitor/", f"Authorization: {basic('eve', 'right')}", WISH)
    with connected(site, [message] * 40) as opened:
        for connection in opened:
            connection.shutdown(socket.SHUT_WR)
        yield


def sends_half_a_head(site: Site) -> Iterator[None]:
    """Requests whose headers do not end."""
    with connected(site, [get("/api/operations/")[:-4]] * 40):
        yield


def submits_without_an_owner(site: Site) -> Iterator[None]:
    """Submits to a view for everybody, by clients that all wait for the result."""
    message = get("/open/", "Content-Type: application/json", "Content-Length: 2", WISH) + "{}"
    with connected(site, [message.replace("GET", "POST", 1)] * 40):
        yield


BEHAVIOURS: list[Behaviour] = [
    guesses_and_leaves,
    guesses_and_stays,
    guesses_once,
    reads_streams_with_slow_credentials,
    ends_all_waits_at_once,
    announces_bodies,
    reads_nothing,
    sends_large_fields,
    pipelines_waits,
    closes_half,
    sends_half_a_head,
    submits_without_an_owner,
]


def delays(site: Site) -> dict[str, float]:
    """Seconds by which the answers to each good client come too late."""
    kinds = site.good
    with ThreadPoolExecutor(len(kinds)) as threads:
        futures = {kind: threads.submit(delay, site, kinds[kind]) for kind in kinds}
        return {kind: future.result() for kind, future in futures.items()}


def delay(site: Site, fields: dict[str, str]) -> float:
    """The longest delay of three answers: a wait over time, the end of a wait, and a plain poll."""
    with site.client(fields) as client, site.client(fields) as other:
        if "Cookie" in fields:
            name = "sam"
            (path,) = site.submit(name)  # a session alone may not submit: other sites could do it
        else:
            name = "ada" if "Token" in fields["Authorization"] else "bob"
            path = f"/api/operations/{client.post('/echoes/', json={}).json()['id']}/"
        started = time.monotonic()
        assert client.get(f"{path}monitor/", headers={"Prefer": "wait=1"}).status_code == 200
        seconds = [time.monotonic() - started - 1]
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(client.get, f"{path}monitor/", headers={"Prefer": "wait=50"})
            started = time.monotonic()
            assert other.get(path).status_code == 200
            seconds.append(time.monotonic() - started)
            site.cancel(name, [path])
            started = time.monotonic()
            answer = waiting.result()
            seconds.append(time.monotonic() - started)
        assert answer.status_code == 200
        assert json.loads(answer.content)["status"] in ("pending", "canceled")
        return max(seconds)
