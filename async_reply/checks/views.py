"""The URLconf: submit views, and the operations' own URLs."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse
from django.utils.module_loading import import_string

from async_reply import conf, tasks
from async_reply.checks.settings import check_settings

Configs = Sequence[AppConfig] | None


@register("async_reply")
def check_urls(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """Submit views have what they need, and the URLs they hand out exist."""
    if not getattr(settings, "ROOT_URLCONF", None) or check_settings(app_configs):
        return []
    views = list(_submit_views(get_resolver().url_patterns))
    found = [message for view in views for message in _check_view(view)]
    if views and not apps.is_installed("rest_framework"):
        found.append(
            checks.Warning(
                "rest_framework is not installed as an app: browsers get a 500 from its pages.",
                hint='Add "rest_framework" to INSTALLED_APPS.',
                id="async_reply.W107",
            )
        )
    name = f"{conf.get('URL_NAMESPACE')}:status"
    try:
        reverse(name, kwargs={"id": "0"})
    except (NoReverseMatch, ImproperlyConfigured):
        if views:
            found.append(
                Error(
                    f"There is no URL {name!r}, so a submit has no Location to answer.",
                    hint='Add path("api/", include("async_reply.urls")) to your URLconf; with a '
                    'namespace of your own, name it in ASYNC_REPLY["URL_NAMESPACE"].',
                    id="async_reply.E020",
                )
            )
    return found


def _submit_views(patterns: Sequence[URLPattern | URLResolver]) -> Iterator[type[Any]]:
    """View classes of the URLconf that submit, told by name: importing views costs a worker."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _submit_views(pattern.url_patterns)
            continue
        callback: Any = pattern.callback
        view = getattr(callback, "cls", None) or getattr(callback, "view_class", None)
        names = {each.__name__ for each in getattr(view, "__mro__", ())}
        if view is not None and "LongRunningOperationMixin" in names:
            yield view


def _check_view(view: type[Any]) -> Iterator[CheckMessage]:
    names = {each.__name__ for each in view.__mro__}
    if "LongRunningOperationView" in names:
        if not isinstance(getattr(view, "task", None), tasks.OperationTask):
            yield Error(
                f"{view.__name__}.task is not an operation task.",
                hint="Decorate the function with @operation_task and name it in the view.",
                obj=view,
                id="async_reply.E021",
            )
        if view.serializer_class is None and not _overrides(view, "get_serializer_class"):
            yield Error(
                f"{view.__name__} has no serializer_class.",
                hint="Name a serializer that validates the request.",
                obj=view,
                id="async_reply.E022",
            )
    yield from _check_access(view)


def _check_access(view: type[Any]) -> Iterator[CheckMessage]:
    """A caller whom the submit view knows is known to the operations' views."""
    access = import_string(conf.get("ACCESS"))()
    if view.authentication_classes is not None and (
        list(view.authentication_classes) != [type(each) for each in access.get_authenticators()]
    ):
        yield checks.Warning(
            f"{view.__name__} authenticates otherwise than the operations' own views: its "
            "callers may get 401 from the Location they were given.",
            hint='Leave authentication_classes to the class named by ASYNC_REPLY["ACCESS"].',
            obj=view,
            id="async_reply.W105",
        )
    if _is_open(view, access) and view.location_access != "signed":
        yield Error(
            f"{view.__name__} lets anonymous callers submit, who could never read the result.",
            hint='Set location_access = "signed", or remove AllowAny from permission_classes, '
            "the view's or those of OperationAccess.",
            obj=view,
            id="async_reply.E023",
        )


def _is_open(view: type[Any], access: Any) -> bool:
    """Whether it lets in callers who own nothing. Composed permissions (`A | B`) have no name."""
    allowed = view.permission_classes
    if allowed is None:
        if type(access).get_owner.__module__ != "async_reply.permissions":
            # The project's own may know an owner for everybody.
            return False
        allowed = [type(each) for each in access.get_permissions()]
    return "AllowAny" in {getattr(each, "__name__", "") for each in allowed}


def _overrides(view: type[Any], name: str) -> bool:
    """Whether the project defines `name` on the view, and not REST framework."""
    owner = next(each for each in view.__mro__ if name in vars(each))
    return not owner.__module__.startswith("rest_framework.")
