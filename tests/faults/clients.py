"""Clients that behave: a key for each request, Retry-After obeyed, submits repeated on 503."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

MANNERS = {"polite": 60, "silent": 15, "failing": 6, "flaky": 10, "stubborn": 4}
FINAL = frozenset({"succeeded", "failed", "canceled"})
PATIENCE = 120.0


@dataclass
class Asked:
    """One thing a client wanted, and what it heard."""

    token: str
    body: dict[str, Any]
    path: str
    cancels: bool
    began: float = 0.0
    #: Seconds of each try of the submit, by when it began.
    tries: list[tuple[float, float, int]] = field(default_factory=list)
    id: str = ""
    url: str = ""
    replies: set[str] = field(default_factory=set)
    seen: list[tuple[int, str]] = field(default_factory=list)
    cancel_answers: list[tuple[int, str]] = field(default_factory=list)


def wishes(seed: int, count: int, *, longest: float, path: str = "") -> list[Asked]:
    """What `count` requests ask for: mostly short jobs, some that outlast a lease."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        manner = rng.choices(list(MANNERS), list(MANNERS.values()))[0]
        seconds = round(min(longest, rng.expovariate(1 / 0.25)), 2)
        if rng.random() < 0.04 and manner in ("polite", "silent"):
            seconds = round(rng.uniform(0.5, 1) * longest, 2)
        token = f"{seed}-{number}"
        body: dict[str, Any] = {"seconds": seconds, "token": token}
        where = path or ("/once/" if rng.random() < 0.05 else "/work/")
        if where == "/work/":
            body["manner"] = manner
        made.append(Asked(token, body, where, cancels=rng.random() < 0.08))
    return made


class Client(threading.Thread):
    """Submits its share at a pace and watches what it was promised."""

    def __init__(
        self,
        base_url: str,
        wishes: list[Asked],
        *,
        pace: float,
        seed: int,
        watches: bool = True,
        repeats: float = 0.05,
    ) -> None:
        super().__init__(name=f"client-{seed}", daemon=True)
        self.wishes = wishes
        self.watches = watches
        self.repeats = repeats
        self.pace = pace
        self.rng = random.Random(seed)
        self.errors: list[BaseException] = []
        self._stopped = threading.Event()
        self._polls: dict[str, tuple[float, Asked]] = {}
        self._http = httpx.Client(
            base_url=base_url, headers={"Authorization": "Token demo"}, timeout=15
        )

    def run(self) -> None:
        try:
            with self._http:
                for wish in self._paced():
                    self._submit(wish)
                    if wish.id and wish.cancels and self.watches:
                        self._cancel(wish)
                while self._polls and not self._stopped.wait(0.05):
                    self._poll_due()
        except BaseException as error:  # noqa: BLE001 told by whoever judges
            self.errors.append(error)

    def stop(self) -> None:
        """Leave what is not finished to the judge of the rows."""
        self._stopped.set()

    def _paced(self) -> Iterator[Asked]:
        next_at = time.monotonic()
        for wish in self.wishes:
            next_at += self.rng.uniform(0, 2 * self.pace)
            while time.monotonic() < next_at and not self._stopped.is_set():
                self._poll_due()
                self._stopped.wait(0.02)
            yield wish

    def _submit(self, wish: Asked) -> None:
        """Until it is accepted; the same key at each try."""
        wish.began = time.time()
        give_up = time.monotonic() + PATIENCE
        headers = {"Idempotency-Key": wish.token}
        while not wish.id and time.monotonic() < give_up:
            began, clock = time.time(), time.monotonic()
            status, pause = 0, 0.5
            try:
                response = self._http.post(wish.path, json=wish.body, headers=headers)
                status = response.status_code
                if status == 202:
                    wish.id, wish.url = response.json()["id"], response.headers["Location"]
                    wish.replies.add(wish.id)
                    if self.watches:
                        self._polls[wish.id] = (_after(response), wish)
                elif status not in (503, 429):
                    # What is neither accepted nor to be repeated: the judge shall see it.
                    give_up = 0.0
                else:
                    pause = min(2.0, float(response.headers["Retry-After"]))
            except httpx.TransportError:
                pass
            wish.tries.append((began, time.monotonic() - clock, status))
            if not wish.id:
                self._stopped.wait(pause)
        if self.rng.random() < self.repeats:
            self._repeat(wish, headers)

    def _repeat(self, wish: Asked, headers: dict[str, str]) -> None:
        """A client that lost the answer asks again."""
        with suppress(httpx.TransportError):
            response = self._http.post(wish.path, json=wish.body, headers=headers)
            if response.status_code == 202:
                wish.replies.add(response.json()["id"])

    def _cancel(self, wish: Asked) -> None:
        self._stopped.wait(self.rng.uniform(0, 1.5))
        with suppress(httpx.TransportError):
            response = self._http.post(f"{wish.url}cancel/")
            if response.status_code in (200, 202):
                answer = (response.status_code, response.json()["status"])
                wish.cancel_answers.append(answer)

    def _poll_due(self) -> None:
        now = time.monotonic()
        for pk, (at, wish) in list(self._polls.items()):
            if at <= now:
                self._poll(pk, wish)

    def _poll(self, pk: str, wish: Asked) -> None:
        self._polls[pk] = (time.monotonic() + 1, wish)
        try:
            response = self._http.get(wish.url)
        except httpx.TransportError:
            return
        if response.status_code == 503:
            return
        body = response.json()
        version = int(response.headers.get("ETag", 'W/"0"').strip('W/"') or 0)
        wish.seen.append((version, body.get("status", str(response.status_code))))
        if response.status_code == 200:
            self._polls[pk] = (_after(response), wish)
        else:
            del self._polls[pk]


def _after(response: httpx.Response) -> float:
    return time.monotonic() + float(response.headers.get("Retry-After", 1))
