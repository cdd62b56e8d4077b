"""Where clients find the demo, and what it remembers of them."""

import importlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import httpx
import pytest

from tests.clients import journal
from tests.stacks.stack import Stack, wait_until

#: Generous: machines that run this are busy.
SOON = 60


def need(module: str, *, extra: str = "clients") -> Any:
    """The module; its absence skips, and fails where ASYNC_REPLY_REQUIRE_SERVICES is set."""
    try:
        return importlib.import_module(module)
    except ImportError:
        lacks(f"needs the extra {extra}: {module} is not installed")


def lacks(reason: str) -> NoReturn:
    if os.environ.get("ASYNC_REPLY_REQUIRE_SERVICES"):
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)


@dataclass(frozen=True)
class Server:
    """`client` is the name under which the journal has the requests of one test."""

    stack: Stack
    client: str = ""

    def seen_by(self, client: str) -> "Server":
        return Server(self.stack, client)

    @property
    def url(self) -> str:
        """Without a slash at its end; an origin that is not the one pages come from."""
        return f"http://127.0.0.1:{self.stack.port}"

    @property
    def headers(self) -> dict[str, str]:
        """What the client has to send with each request."""
        return {"Authorization": "Token demo", "X-Client": self.client}

    def http(self) -> httpx.Client:
        """A client of the test's own, to look and to interfere."""
        return self.stack.client()

    def asked(self, *, status: int | None = None) -> list[dict[str, Any]]:
        """What the test's client asked so far, or those requests that were answered so."""
        entries = journal.read(self.stack.folder, self.client)
        return [each for each in entries if status is None or each["status"] == status]

    def wait_for(self, condition: Callable[[], object]) -> None:
        wait_until(lambda: bool(condition()), seconds=SOON)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """The database cannot be opened meanwhile; most of all not by the web server."""
        self._lead_to("nowhere/db.sqlite3")
        try:
            yield
        finally:
            self._lead_to("kept/db.sqlite3")

    def _lead_to(self, target: str) -> None:
        door = self.stack.folder / "db.sqlite3"
        other = door.with_suffix(".new")
        other.symlink_to(target)
        other.rename(door)


def sleep(seconds: float = 0, **more: Any) -> dict[str, Any]:
    """The body of a submit to the demo's sleeps."""
    made: dict[str, Any] = json.loads(json.dumps({"seconds": seconds, **more}))
    return made
