"""A victim, a stranger, nobody, and everything an operation can be."""

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
    """A client with a real token of a user's, with the words given, or with none."""

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
    """The victim's own client; a defect of the server is a 500 to it, as to a real one."""
    return caller(victim)


@pytest.fixture
def prey(request: pytest.FixtureRequest, victim: AbstractBaseUser) -> Any:
    """An operation of the victim's in the situation that the test is parametrised with."""
    make: Submit = SITUATIONS[request.param]
    operation = make(str(victim.pk))
    operation.refresh_from_db()
    return operation


@pytest.fixture(autouse=True)
def nobody_waits(settings: Settings) -> None:
    """Each answer comes at once, whatever a request prefers."""
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "MAX_WAIT": 0, "WAIT_THREADS": 0}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The hook hears of all tests, wherever it stands.

    Each odd request goes to one of the servers; `make hostile` sends them all to both.
    """
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    for item in ours:
        item.add_marker("hostile")
    left_out = [] if FULL else [item for item in ours if _is_of_the_other(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_of_the_other(item: pytest.Item) -> bool:
    """Whether it sends a request that the other server gets."""
    given = getattr(getattr(item, "callspec", None), "params", {})
    if "server" not in given or len(given) == 1:
        return False
    turn = crc32(item.nodeid.replace(given["server"], "").encode()) % 2
    return bool(given["server"] == ("gunicorn", "uvicorn")[turn])
