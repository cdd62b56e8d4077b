"""Clients that take more than their share, and good ones beside them."""

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

#: What `prepare` prints: the key of Sam's session.
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
class Place:
    """A server, and how the three good clients show who they are."""

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
        """Paths of new operations of a user's."""
        with self.client({"Authorization": f"Token {name}"}) as client:
            answers = [client.post("/echoes/", json={}) for _ in range(number)]
        return [f"/api/operations/{answer.json()['id']}/" for answer in answers]

    def cancel(self, name: str, paths: list[str]) -> None:
        with self.client({"Authorization": f"Token {name}"}) as client:
            for path in paths:
                assert client.post(f"{path}cancel/").status_code == 200

    def connect(self, said: str | bytes) -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        opened.sendall(said if isinstance(said, bytes) else said.encode())
        return opened


def prepare(stack: Stack) -> str:
    """The users; the key of a session."""
    return stack.manage("shell", "-c", PREPARE).split("KEY ")[1].split()[0]


def get(path: str, *fields: str) -> str:
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *fields]
    return "\r\n".join(lines) + "\r\n\r\n"


@contextmanager
def connected(place: Place, said: list[str]) -> Iterator[list[socket.socket]]:
    with ExitStack() as opened:
        yield [opened.enter_context(place.connect(each)) for each in said]


Behaviour = Callable[[Place], Iterator[None]]
WISH = "Prefer: wait=30"


def guesses_and_leaves(place: Place) -> Iterator[None]:
    """Wrong passwords, each another, by clients that do not stay for the answer."""
    (path,) = place.submit("eve")
    for number in range(80):
        guess = f"Authorization: {basic('eve', str(number))}"
        place.connect(get(f"{path}monitor/", guess, WISH)).close()
    yield


def guesses_and_stays(place: Place) -> Iterator[None]:
    (path,) = place.submit("eve")
    guesses = [f"Authorization: {basic('eve', str(number))}" for number in range(50)]
    with connected(place, [get(f"{path}monitor/", each, WISH) for each in guesses]):
        yield


def guesses_once(place: Place) -> Iterator[None]:
    """One wrong password, many times: known to nobody, and one caller."""
    (path,) = place.submit("eve")
    asked = get(f"{path}events/", f"Authorization: {basic('eve', 'wrong')}")
    with connected(place, [asked] * 60):
        yield


def is_told_slowly(place: Place) -> Iterator[None]:
    """Forty streams by credentials that take long to check, all of which have news at once."""
    paths = place.submit("eve", 40)
    right = f"Authorization: {basic('eve', 'right')}"
    with connected(place, [get(f"{path}events/", right) for path in paths]) as streams:
        for stream in streams[:10]:
            assert stream.recv(100)
        place.cancel("eve", paths)
        yield


def waits_are_over_at_once(place: Place) -> Iterator[None]:
    paths = place.submit("eve", 40)
    right = f"Authorization: {basic('eve', 'right')}"
    said = [get(f"{path}monitor/", right, "Prefer: wait=8") for path in paths]
    with connected(place, said) as waiting:
        waiting[0].recv(100)
        yield


def has_bodies(place: Place) -> Iterator[None]:
    """GETs that say that a body comes, of any length; they wait as all others."""
    (path,) = place.submit("eve")
    right = f"Authorization: {basic('eve', 'right')}"
    fields = ["Content-Length: 0", "Content-Length: 9", "Transfer-Encoding: chunked"]
    fields += ["Expect: 100-continue", "Content-Type: text/plain"]
    said = [get(f"{path}monitor/", right, WISH, field) for field in fields * 10]
    with connected(place, said):
        yield


def reads_nothing(place: Place) -> Iterator[None]:
    paths = place.submit("eve", 40)
    said = [get(f"{path}events/", "Authorization: Token eve") for path in paths * 2]
    with connected(place, said):
        place.cancel("eve", paths)
        yield


def sends_large_fields(place: Place) -> Iterator[None]:
    (path,) = place.submit("eve")
    large = f"X-Large: {'x' * 60_000}"
    said = [get(f"{path}monitor/", f"Authorization: Token eve{n}", WISH, large) for n in range(60)]
    with connected(place, said):
        yield


def asks_in_a_row(place: Place) -> Iterator[None]:
    """Ten waits on each connection, before the first is answered."""
    (path,) = place.submit("eve")
    said = get(f"{path}monitor/", f"Authorization: {basic('eve', 'right')}", WISH)
    with connected(place, [said * 10] * 10):
        yield


def closes_half(place: Place) -> Iterator[None]:
    (path,) = place.submit("eve")
    said = get(f"{path}monitor/", f"Authorization: {basic('eve', 'right')}", WISH)
    with connected(place, [said] * 40) as opened:
        for each in opened:
            each.shutdown(socket.SHUT_WR)
        yield


def sends_half_a_head(place: Place) -> Iterator[None]:
    with connected(place, [get("/api/operations/")[:-4]] * 40):
        yield


def submits_as_nobody(place: Place) -> Iterator[None]:
    """A view for everybody, by clients that all wait for the reply."""
    said = get("/open/", "Content-Type: application/json", "Content-Length: 2", WISH) + "{}"
    with connected(place, [said.replace("GET", "POST", 1)] * 40):
        yield


BEHAVIOURS: list[Behaviour] = [
    guesses_and_leaves,
    guesses_and_stays,
    guesses_once,
    is_told_slowly,
    waits_are_over_at_once,
    has_bodies,
    reads_nothing,
    sends_large_fields,
    asks_in_a_row,
    closes_half,
    sends_half_a_head,
    submits_as_nobody,
]


def delays(place: Place) -> dict[str, float]:
    """For how many seconds each of the good clients waits in vain for what is true already."""
    kinds = place.good
    with ThreadPoolExecutor(len(kinds)) as threads:
        told = {kind: threads.submit(delay, place, kinds[kind]) for kind in kinds}
        return {kind: each.result() for kind, each in told.items()}


def delay(place: Place, fields: dict[str, str]) -> float:
    """The longest of: a wait that is over, one that is told of the end, and a plain poll."""
    with place.client(fields) as client, place.client(fields) as other:
        if "Cookie" in fields:
            name = "sam"
            (path,) = place.submit(name)  # pages of other sites could submit by a cookie alone
        else:
            name = "ada" if "Token" in fields["Authorization"] else "bob"
            path = f"/api/operations/{client.post('/echoes/', json={}).json()['id']}/"
        begun = time.monotonic()
        assert client.get(f"{path}monitor/", headers={"Prefer": "wait=1"}).status_code == 200
        found = [time.monotonic() - begun - 1]
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(client.get, f"{path}monitor/", headers={"Prefer": "wait=50"})
            begun = time.monotonic()
            assert other.get(path).status_code == 200
            found.append(time.monotonic() - begun)
            place.cancel(name, [path])
            begun = time.monotonic()
            answer = waiting.result()
            found.append(time.monotonic() - begun)
        assert answer.status_code == 200
        assert json.loads(answer.content)["status"] in ("pending", "canceled")
        return max(found)
