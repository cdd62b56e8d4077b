"""The callers of these tests, and operations of the victim in each situation."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from django.contrib.auth.models import AbstractBaseUser
from pytest_django import Settings
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from tests.hostile.situations import SITUATIONS, Submit

Caller = Callable[..., APIClient]

HERE = Path(__file__).parent
FULL = os.environ.get("HOSTILE_FULL") == "1"


@pytest.fixture
def caller() -> Caller:
    """Makes a client with a token of `user`, with the field `authorization`, or without both."""

    def make(user: Any = None, *, authorization: str = "") -> APIClient:
        client = APIClient(raise_request_exception=False)
        if user is not None:
            authorization = f"Token {Token.objects.get_or_create(user=user)[0]}"
        if authorization:
            client.credentials(HTTP_AUTHORIZATION=authorization)
        return client

    return make


@pytest.fixture
def victim(user: AbstractBaseUser) -> AbstractBaseUser:
    return user


@pytest.fixture
def api(victim: AbstractBaseUser, caller: Caller) -> APIClient:
    """The victim's own client. An error of the server is a 500, as for a real client."""
    return caller(victim)


@pytest.fixture
def operation(request: pytest.FixtureRequest, victim: AbstractBaseUser) -> Any:
    """An operation of the victim in the situation that is the test's parameter."""
    make: Submit = SITUATIONS[request.param]
    operation = make(str(victim.pk))
    operation.refresh_from_db()
    return operation


@pytest.fixture(autouse=True)
def nobody_waits(settings: Settings) -> None:
    """Each answer comes at once, also if the request prefers to wait."""
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "MAX_WAIT": 0, "WAIT_THREADS": 0}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of this folder: the hook gets the tests of all folders.

    Each malformed request goes to one of the two servers. `make hostile` sends it to both.
    """
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    for item in ours:
        item.add_marker("hostile")
    left_out = [] if FULL else [item for item in ours if _is_for_the_other_server(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_for_the_other_server(item: pytest.Item) -> bool:
    """Whether its request is sent to the other server only."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if "server" not in parameters or len(parameters) == 1:
        return False
    turn = crc32(item.nodeid.replace(parameters["server"], "").encode()) % 2
    return bool(parameters["server"] == ("gunicorn", "uvicorn")[turn])
