"""Checks the URLconf: the views that submit, and the URLs of operations."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse

from async_reply import conf
from async_reply.attempts import compensation
from async_reply.checks.mounted import MIXIN, Mounted
from async_reply.checks.registry import register
from async_reply.checks.settings import check_settings
from async_reply.checks.views import check_view
from async_reply.protocol import routes

Configs = Sequence[AppConfig] | None


@register
def check_urls(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """Each view that submits is complete, and the URLs that its answers name exist."""
    if not getattr(settings, "ROOT_URLCONF", None) or check_settings(app_configs):
        return []
    views = list(_submit_views(get_resolver().url_patterns))
    distinct = {(view.cls, str(view.initkwargs), view.url_kwargs): view for view in views}
    messages: list[CheckMessage] = []
    for view in distinct.values():
        # A view may have several URLs.
        messages += [message for message in check_view(view) if message not in messages]
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
    return [*messages, *_check_questions(), *_check_answers(), *_check_schema(name)]


def _check_schema(name: str) -> Iterator[CheckMessage]:
    """A schema of drf-spectacular describes submits and operations."""
    framework: Any = getattr(settings, "REST_FRAMEWORK", {})
    schema_class = str(framework.get("DEFAULT_SCHEMA_CLASS", ""))
    is_described = "async_reply.contrib.spectacular" in sys.modules
    if not schema_class.startswith("drf_spectacular.") or is_described:
        return
    if routes.exists(name, arguments={"id"}):
        yield checks.Warning(
            "The OpenAPI schema of drf-spectacular says nothing of submits and operations.",
            hint="Write from async_reply.contrib import spectacular in your URLconf.",
            id="async_reply.W117",
        )


def _check_questions() -> Iterator[CheckMessage]:
    """A project that mounts the operations' views by itself has one for questions, too."""
    asking = sorted(name for name, kind in compensation.known_kinds.items() if kind.asks)
    namespace = conf.get("URL_NAMESPACE")
    has_status = routes.exists(f"{namespace}:status", arguments={"id"})
    if asking and has_status and not routes.exists(f"{namespace}:input", arguments={"id", "name"}):
        yield checks.Warning(
            f"There is no URL {namespace}:input, and {', '.join(asking)} may ask: clients cannot "
            "answer.",
            hint="Include async_reply.urls, or mount async_reply.views.InputView as "
            "operations/<str:id>/input/<str:name>/.",
            id="async_reply.W142",
        )


def _check_answers() -> Iterator[CheckMessage]:
    """No answer to a question has a file: a step stores it as JSON."""
    for kind in sorted(compensation.known_kinds):
        for question, serializer in compensation.known_kinds[kind].asks.items():
            if _takes_file(serializer):
                yield checks.Warning(
                    f"The serializer of the question {question!r} of {kind!r} has a field for a "
                    "file, and answers are JSON: such an answer is answered 500.",
                    hint="Remove the field. Let the person upload the file elsewhere, and answer "
                    "with its key.",
                    id="async_reply.W143",
                )


def _takes_file(serializer: Any) -> bool:
    try:
        return _has_file(serializer())
    except Exception:  # noqa: BLE001 fields are the project's code, and may need a request
        return False


def _has_file(field: Any) -> bool:
    """Whether a client may send a file for this field, or for one inside it."""
    if field.read_only:
        return False
    nested = [*getattr(field, "fields", {}).values()]
    child = getattr(field, "child", None)
    is_file = any(cls.__name__ == "FileField" for cls in type(field).__mro__)
    return is_file or any(map(_has_file, nested if child is None else [*nested, child]))


def _submit_views(
    patterns: Sequence[URLPattern | URLResolver], url_kwargs: frozenset[str] = frozenset()
) -> Iterator[Mounted]:
    """The views that submit, and for each URL of a view the names of its arguments."""
    for pattern in patterns:
        names = url_kwargs | _arguments(pattern)
        if isinstance(pattern, URLResolver):
            yield from _submit_views(pattern.url_patterns, names)
            continue
        callback: Any = pattern.callback
        cls = getattr(callback, "cls", None) or getattr(callback, "view_class", None)
        given = getattr(callback, "initkwargs", None) or getattr(callback, "view_initkwargs", {})
        if isinstance(cls, type):
            view = Mounted(cls, given, names)
            if view.parent(MIXIN):
                yield view


def _arguments(pattern: URLPattern | URLResolver) -> frozenset[str]:
    """The names of the arguments that this part of a URL gives to its view."""
    given = pattern.default_args if isinstance(pattern, URLPattern) else pattern.default_kwargs
    return frozenset(pattern.pattern.regex.groupindex) | frozenset(given)


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
