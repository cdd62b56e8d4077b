"""Checks that browsers give pages of other origins the headers of operations."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from async_reply import cors
from async_reply.checks.registry import register

Configs = Sequence[AppConfig] | None


@register
def check_cors(app_configs: Configs, **_kwargs: Any) -> Iterator[CheckMessage]:
    """If the project uses django-cors-headers, its lists name the headers that clients need."""
    if not any(path.startswith("corsheaders.") for path in settings.MIDDLEWARE):
        return
    hidden = cors.hidden(getattr(settings, "CORS_EXPOSE_HEADERS", ()))
    if hidden:
        yield checks.Warning(
            f"Browsers hide headers of operations from pages of other origins: {hidden}.",
            hint="Remove CORS_EXPOSE_HEADERS, or add *async_reply.cors.EXPOSED to it.",
            id="async_reply.W140",
        )
    refused = cors.refused(getattr(settings, "CORS_ALLOW_HEADERS", ()))
    if refused:
        yield checks.Warning(
            f"Browsers do not let pages of other origins send the headers {refused}.",
            hint="Set CORS_ALLOW_HEADERS = [*corsheaders.defaults.default_headers, "
            "*async_reply.cors.ALLOWED].",
            id="async_reply.W141",
        )
