"""A client of our own views, in the transaction of a test."""

from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.authtoken.models import Token

from async_reply.testing import Operations


@pytest.fixture
def ours(operations: Operations, user: User, monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    """A client of our own views in this process. A pause runs what is due."""
    token = Token.objects.create(user=user)
    monkeypatch.setattr("time.sleep", lambda _: operations.run())
    fields = {"Authorization": f"Token {token.key}"}
    transport = httpx.MockTransport(ask_django)
    return httpx.Client(base_url="http://testserver", transport=transport, headers=fields)


def ask_django(request: httpx.Request) -> httpx.Response:
    """The answer of our own views, in the transaction of the test."""
    fields = {name: value for name, value in request.headers.items() if name != "content-length"}
    path, content_type = request.url.raw_path.decode(), fields.pop("content-type", "")
    answer: Any = Client().generic(
        request.method, path, request.read(), content_type=content_type, headers=fields
    )
    return httpx.Response(
        answer.status_code, headers=list(answer.items()), content=b"".join(answer)
    )
