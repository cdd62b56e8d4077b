"""The demo's server as the tests of clients use it: its URL, its journal, its outages."""

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

#: Seconds until a condition must hold. The machine may be busy.
PATIENCE_SECONDS = 60


def need(module: str, *, extra: str = "clients") -> Any:
    """Import a module; if it is missing, skip the tests, as `lacks` does."""
    try:
        return importlib.import_module(module)
    except ImportError:
        lacks(f"needs the extra {extra}: {module} is not installed")


def lacks(reason: str) -> NoReturn:
    """Skip the tests of a module; fail if ASYNC_REPLY_REQUIRE_SERVICES is set."""
    if os.environ.get("ASYNC_REPLY_REQUIRE_SERVICES"):
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)


@dataclass(frozen=True)
class Server:
    """`client` is the name that the journal notes with the requests of one test."""

    stack: Stack
    client: str = ""

    def seen_by(self, client: str) -> "Server":
        return Server(self.stack, client)

    @property
    def url(self) -> str:
        """Without a slash at the end. The pages of browsers come from another origin."""
        return f"http://127.0.0.1:{self.stack.port}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the client has to send with each request."""
        return {"Authorization": "Token demo", "X-Client": self.client}

    def http(self) -> httpx.Client:
        """A client for the test itself, whose requests the journal does not count."""
        return self.stack.client()

    def asked(self, *, status: int | None = None) -> list[dict[str, Any]]:
        """The requests of the test's client so far: all, or those that got this status."""
        entries = journal.read(self.stack.folder, self.client)
        return [entry for entry in entries if status is None or entry["status"] == status]

    def wait_for(self, condition: Callable[[], object]) -> None:
        wait_until(lambda: bool(condition()), seconds=PATIENCE_SECONDS)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Until the end of the block, no process can open the database."""
        self._point_database_to("nowhere/db.sqlite3")
        try:
            yield
        finally:
            self._point_database_to("kept/db.sqlite3")

    def _point_database_to(self, target: str) -> None:
        link = self.stack.folder / "db.sqlite3"
        new_link = link.with_suffix(".new")
        new_link.symlink_to(target)
        new_link.rename(link)


def sleep(seconds: float = 0, **more: Any) -> dict[str, Any]:
    """The body of a submit to the demo's sleeps."""
    body: dict[str, Any] = json.loads(json.dumps({"seconds": seconds, **more}))
    return body
