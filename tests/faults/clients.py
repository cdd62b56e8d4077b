"""Well-behaved clients: they send keys, obey Retry-After, and repeat a submit after a 503."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

#: How often each manner of a job is drawn.
MANNERS = {"polite": 60, "silent": 15, "failing": 6, "flaky": 10, "stubborn": 4}
#: The part of the jobs that are jobs of steps. They take about as long as the longest others.
STEPPED = 0.08
FINAL = frozenset({"succeeded", "failed", "canceled"})
#: Seconds for which a client repeats a submit.
PATIENCE_SECONDS = 120.0


@dataclass
class ClientRequest:
    """A submit that a client is to make, and the answers that it got."""

    token: str
    body: dict[str, Any]
    path: str
    cancels: bool
    began: float = 0.0
    #: Each try of the submit: its start, its seconds, its status (0: no answer).
    tries: list[tuple[float, float, int]] = field(default_factory=list)
    id: str = ""
    url: str = ""
    replies: set[str] = field(default_factory=set)
    seen: list[tuple[int, str]] = field(default_factory=list)
    cancel_answers: list[tuple[int, str]] = field(default_factory=list)
    #: The events that it has read from the operation's log.
    log: list[dict[str, Any]] = field(default_factory=list)


def plan_requests(seed: int, count: int, *, longest: float, path: str = "") -> list[ClientRequest]:
    """`count` submits. Most jobs are short, and some are longer than a lease."""
    rng = random.Random(seed)
    requests = []
    for number in range(count):
        manner = rng.choices(list(MANNERS), list(MANNERS.values()))[0]
        seconds = round(min(longest, rng.expovariate(1 / 0.25)), 2)
        if rng.random() < 0.04 and manner in ("polite", "silent"):
            seconds = round(rng.uniform(0.5, 1) * longest, 2)
        token = f"{seed}-{number}"
        body: dict[str, Any] = {"seconds": seconds, "token": token}
        url_path = path or ("/once/" if rng.random() < 0.05 else "/work/")
        if not path and rng.random() < STEPPED:
            url_path, body["seconds"] = "/steps/", round(rng.uniform(0.5, 1) * longest, 2)
        if url_path == "/work/":
            body["manner"] = manner
        requests.append(ClientRequest(token, body, url_path, cancels=rng.random() < 0.08))
    return requests


class Client(threading.Thread):
    """Submits its requests at a pace, and polls the operations that were accepted."""

    def __init__(
        self,
        base_url: str,
        requests: list[ClientRequest],
        *,
        pace: float,
        seed: int,
        watches: bool = True,
        repeats: float = 0.05,
    ) -> None:
        super().__init__(name=f"client-{seed}", daemon=True)
        self.requests = requests
        self.watches = watches
        self.repeats = repeats
        self.pace = pace
        self.rng = random.Random(seed)
        self.errors: list[BaseException] = []
        self._stopped = threading.Event()
        self._polls: dict[str, tuple[float, ClientRequest]] = {}
        self._http = httpx.Client(
            base_url=base_url, headers={"Authorization": "Token demo"}, timeout=15
        )

    def run(self) -> None:
        try:
            with self._http:
                for request in self._paced():
                    self._submit(request)
                    if request.id and request.cancels and self.watches:
                        self._cancel(request)
                while self._polls and not self._stopped.wait(0.05):
                    self._poll_due()
        except BaseException as error:  # noqa: BLE001 the test reports it
            self.errors.append(error)

    def stop(self) -> None:
        """Stop polling. The judge reads the rows of unfinished operations."""
        self._stopped.set()

    def _paced(self) -> Iterator[ClientRequest]:
        next_at = time.monotonic()
        for request in self.requests:
            next_at += self.rng.uniform(0, 2 * self.pace)
            while time.monotonic() < next_at and not self._stopped.is_set():
                self._poll_due()
                self._stopped.wait(0.02)
            yield request

    def _submit(self, request: ClientRequest) -> None:
        """Repeat the submit with the same key until it is accepted."""
        request.began = time.time()
        give_up = time.monotonic() + PATIENCE_SECONDS
        headers = {"Idempotency-Key": request.token}
        while not request.id and time.monotonic() < give_up:
            began, clock = time.time(), time.monotonic()
            status, pause = 0, 0.5
            try:
                response = self._http.post(request.path, json=request.body, headers=headers)
                status = response.status_code
                if status == 202:
                    request.id, request.url = response.json()["id"], response.headers["Location"]
                    request.replies.add(request.id)
                    if self.watches:
                        self._polls[request.id] = (_after(response), request)
                elif status not in (503, 429):
                    # A client must not repeat after this status. The judge reports it.
                    give_up = 0.0
                else:
                    pause = min(2.0, float(response.headers["Retry-After"]))
            except httpx.TransportError:
                pass
            request.tries.append((began, time.monotonic() - clock, status))
            if not request.id:
                self._stopped.wait(pause)
        if self.rng.random() < self.repeats:
            self._repeat(request, headers)

    def _repeat(self, request: ClientRequest, headers: dict[str, str]) -> None:
        """Submit once more, as a client does that lost the answer."""
        with suppress(httpx.TransportError):
            response = self._http.post(request.path, json=request.body, headers=headers)
            if response.status_code == 202:
                request.replies.add(response.json()["id"])

    def _cancel(self, request: ClientRequest) -> None:
        self._stopped.wait(self.rng.uniform(0, 1.5))
        with suppress(httpx.TransportError):
            response = self._http.post(f"{request.url}cancel/")
            if response.status_code in (200, 202):
                answer = (response.status_code, response.json()["status"])
                request.cancel_answers.append(answer)

    def _poll_due(self) -> None:
        now = time.monotonic()
        for pk, (at, request) in list(self._polls.items()):
            if at <= now:
                self._poll(pk, request)

    def _poll(self, pk: str, request: ClientRequest) -> None:
        self._polls[pk] = (time.monotonic() + 1, request)
        try:
            response = self._http.get(request.url)
        except httpx.TransportError:
            return
        if response.status_code == 503:
            return
        body = response.json()
        version = int(response.headers.get("ETag", 'W/"0"').strip('W/"') or 0)
        request.seen.append((version, body.get("status", str(response.status_code))))
        has_read_all = self._read_log(request)
        if response.status_code == 200:
            self._polls[pk] = (_after(response), request)
        elif has_read_all:
            del self._polls[pk]

    def _read_log(self, request: ClientRequest) -> bool:
        """Read the log from where the last try ended; whether it was read to the outcome."""
        after = request.log[-1]["id"] if request.log else 0
        try:
            response = self._http.get(f"{request.url}log/", params={"after": after})
        except httpx.TransportError:
            return False
        if response.status_code != 200:
            return response.status_code != 503
        page = response.json()
        request.log += page["events"]
        return bool(page["complete"])


def _after(response: httpx.Response) -> float:
    return time.monotonic() + float(response.headers.get("Retry-After", 1))
