"""A project served by ASGI in the same process, and the operations its user waits for."""

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AbstractBaseUser
from django.core.asgi import get_asgi_application
from django.db import connections
from rest_framework.authtoken.models import Token

from async_reply import lifecycle, services
from async_reply.asgi import waiting
from async_reply.models import Operation
from async_reply.testing import run_operations
from async_reply.waiting.application import WaitingApplication
from async_reply.waiting.ticker import Ticker
from async_reply.waiting.ticker import ticker as the_ticker
from tests.project.tasks import echo
from tests.waiting.client import Exchange, until


class Site:
    """The project inside a WaitingApplication, for requests of one user in one event loop."""

    def __init__(self, user: Any) -> None:
        self.user = user
        self.token = Token.objects.create(user=user)
        self.wrapper: WaitingApplication = waiting(get_asgi_application())
        self.application: Any = self.wrapper

    def say(self, method: str, url: str, body: Any = None, **fields: str) -> Exchange:
        """A request with the user's token; underscores in the names of fields are hyphens."""
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        return Exchange(
            self.application, method, url, body, {"authorization": f"Token {self.token}", **named}
        )

    def get(self, url: str, **fields: str) -> Exchange:
        return self.say("GET", url, **fields)

    async def until_waiting(self, number: int = 1) -> None:
        """Return once so many clients wait."""
        await until(lambda: the_ticker.waiting == number)

    async def work(self) -> None:
        """Run the operations that are due."""
        await in_database(run_operations)


async def in_database(function: Callable[[], Any]) -> Any:
    """Call `function` in a thread that keeps no database connection."""

    def run() -> Any:
        try:
            return function()
        finally:
            connections.close_all()

    return await sync_to_async(run, thread_sensitive=False)()


@pytest.fixture(autouse=True)
def _connections_end_with_their_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django's documentation says so for ASGI, where each request has a thread."""
    monkeypatch.setitem(connections["default"].settings_dict, "CONN_MAX_AGE", 0)


@pytest.fixture
def site(user: AbstractBaseUser, ticker: Ticker) -> Site:
    return Site(user)


@pytest.fixture
def operation(user: AbstractBaseUser) -> Operation:
    """A pending operation of the user."""
    return services.submit(echo, input={"number": 7}, owner=str(user.pk))


@pytest.fixture
def running(operation: Operation) -> Operation:
    assert lifecycle.claim(operation, worker="w1")
    return operation
