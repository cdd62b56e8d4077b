"""Checks the URLconf: the views that submit, and the URLs of operations."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse

from async_reply import conf
from async_reply.checks.settings import check_settings
from async_reply.checks.views import Mounted, check_view
from async_reply.protocol import routes

Configs = Sequence[AppConfig] | None


@register("async_reply")
def check_urls(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """Each view that submits is complete, and the URLs that its answers name exist."""
    if not getattr(settings, "ROOT_URLCONF", None) or check_settings(app_configs):
        return []
    views = list(_submit_views(get_resolver().url_patterns))
    distinct = {(view.cls, str(view.initkwargs)): view for view in views}
    messages = [message for view in distinct.values() for message in check_view(view)]
    if views and not apps.is_installed("rest_framework"):
        messages.append(
            checks.Warning(
                "rest_framework is not in INSTALLED_APPS: its pages answer browsers with 500.",
                hint='Add "rest_framework" to INSTALLED_APPS.',
                id="async_reply.W107",
            )
        )
    name = f"{conf.get('URL_NAMESPACE')}:status"
    if not all(_reaches(name, view) for view in views):
        messages.append(
            Error(
                f"There is no URL {name!r}: a submit cannot answer with a Location.",
                hint='Add path("api/", include("async_reply.urls")) to your URLconf. If its '
                'namespace is another one, name this in ASYNC_REPLY["URL_NAMESPACE"].',
                id="async_reply.E020",
            )
        )
    return messages


def _submit_views(patterns: Sequence[URLPattern | URLResolver]) -> Iterator[Mounted]:
    """The views that submit, recognized by the name of a base: a worker must not import views."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _submit_views(pattern.url_patterns)
            continue
        callback: Any = pattern.callback
        cls = getattr(callback, "cls", None) or getattr(callback, "view_class", None)
        given = getattr(callback, "initkwargs", None) or getattr(callback, "view_initkwargs", {})
        if isinstance(cls, type):
            view = Mounted(cls, given)
            if view.parent("LongRunningOperationMixin"):
                yield view


def _reaches(name: str, view: Mounted) -> bool:
    """Whether the URL takes an id alone, or an id and the version of a request to `view`."""
    try:
        reverse(name, kwargs={"id": "0"})
    except ImproperlyConfigured:
        return False
    except NoReverseMatch:
        is_versioned = view.get("versioning_class") is not None
        return is_versioned and routes.exists(name, arguments={"id"})
    return True
