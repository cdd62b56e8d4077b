"""Checks of the lists of django-cors-headers."""

from typing import Any

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from async_reply import cors
from tests.checks.messages import ids


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({}, ["async_reply.W141"]),
        ({"CORS_ALLOW_HEADERS": ["accept", *cors.ALLOWED]}, []),
        ({"CORS_ALLOW_HEADERS": cors.ALLOWED, "CORS_EXPOSE_HEADERS": []}, []),
        ({"CORS_ALLOW_HEADERS": cors.ALLOWED, "CORS_EXPOSE_HEADERS": cors.EXPOSED}, []),
        ({"CORS_ALLOW_HEADERS": ["Prefer"], "CORS_EXPOSE_HEADERS": ["X-Mine"]},
         ["async_reply.W140", "async_reply.W141"]),
    ],
)  # fmt: skip
def test_cors__lists_of_django_cors_headers(
    lists: dict[str, Any], expected: list[str], settings: Settings
) -> None:
    settings.MIDDLEWARE = ["corsheaders.middleware.CorsMiddleware", *settings.MIDDLEWARE]
    for name, value in lists.items():
        setattr(settings, name, value)
    assert ids() == expected


def test_cors__names_the_missing_headers(settings: Settings) -> None:
    settings.MIDDLEWARE = ["corsheaders.middleware.CorsMiddleware"]
    settings.CORS_ALLOW_HEADERS = ["Prefer", "last-event-id"]
    [message] = run_checks(tags=["async_reply"], databases=[])
    assert "the headers idempotency-key, if-none-match." in message.msg
