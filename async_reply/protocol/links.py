"""Makes the URLs of an operation for an answer, under the prefix at which our URLs are included.

Reversing five names takes an eighth of a poll. The paths around the id are therefore kept, for each
URLconf and all else that a path depends on.
"""

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode
from uuid import UUID
from weakref import WeakKeyDictionary

from django.urls import URLResolver, get_resolver, get_script_prefix, get_urlconf
from django.utils.translation import get_language
from rest_framework import versioning
from rest_framework.request import Request
from rest_framework.reverse import reverse
from rest_framework.settings import api_settings
from rest_framework.utils.urls import replace_query_param

from async_reply import conf

#: An id that stands for any other while paths are reversed.
SAMPLE = str(UUID(int=0))
#: More paths than a project has: requests may choose the prefix of a path.
MAX_KEPT = 1000
#: The versioning classes of REST framework depend on the version alone.
SCHEMES = (
    versioning.BaseVersioning,
    versioning.AcceptHeaderVersioning,
    versioning.URLPathVersioning,
    versioning.NamespaceVersioning,
    versioning.HostNameVersioning,
)
REVERSES = frozenset(scheme.reverse for scheme in SCHEMES)

#: The parts of a path before and after the id, by URLconf.
_paths: WeakKeyDictionary[URLResolver, dict[Hashable, list[tuple[str, str]]]] = WeakKeyDictionary()


def make(names: Sequence[str], pk: UUID, request: Request, *, key: str = "") -> list[str]:
    """The absolute URLs of these names for the operation; with a valet key, its `sig` besides."""
    view_names = _view_names(conf.get("URL_NAMESPACE"), *names)
    urls = _from_kept_paths(view_names, str(pk), request)
    if urls is None:
        urls = [reverse(name, kwargs={"id": str(pk)}, request=request) for name in view_names]
    if not key:
        return urls
    query = urlencode({"sig": key})
    return [
        replace_query_param(url, "sig", key) if "?" in url else f"{url}?{query}" for url in urls
    ]


@lru_cache(maxsize=64)
def _view_names(namespace: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{namespace}:{name}" for name in names)


def make_input(name: str, pk: UUID, request: Request, *, key: str = "") -> str:
    """The absolute URL of the question `name`; raises NoReverseMatch where the project has none."""
    view_name = f"{conf.get('URL_NAMESPACE')}:input"
    url: str = reverse(view_name, kwargs={"id": str(pk), "name": name}, request=request)
    return replace_query_param(url, "sig", key) if key else url


def _from_kept_paths(names: tuple[str, ...], pk: str, request: Request) -> list[str] | None:
    """The URLs; None if something else than the URLconf and the version has a say."""
    scheme = getattr(request, "versioning_scheme", None)
    if scheme is not None and not _is_simple(type(scheme)):
        return None
    if api_settings.URL_FORMAT_OVERRIDE in request.GET:
        return None
    kept = _paths.setdefault(get_resolver(get_urlconf()), {})
    version = getattr(request, "version", None)
    key = (names, type(scheme), version, get_script_prefix(), get_language())
    if (paths := kept.get(key)) is None:
        paths = [_around_id(name, request) for name in names]
        if len(kept) >= MAX_KEPT:
            kept.clear()
        kept[key] = paths
    path = f"{paths[0][0]}{pk}{paths[0][1]}"
    url = request.build_absolute_uri(path)
    if not path.startswith("/") or not url.endswith(path):
        return None  # the project's request class makes URLs of another kind
    base = url.removesuffix(path)
    return [f"{base}{before}{pk}{after}" for before, after in paths]


def _is_simple(scheme: type[Any]) -> bool:
    reverses = scheme.reverse in REVERSES
    by_name = getattr(scheme, "get_versioned_viewname", None)
    return reverses and by_name in (None, versioning.NamespaceVersioning.get_versioned_viewname)


def _around_id(name: str, request: Request) -> tuple[str, str]:
    """The path of this name before and after the id."""
    url = reverse(name, kwargs={"id": SAMPLE}, request=request)
    base = request.build_absolute_uri("/").removesuffix("/")
    before, _, after = url.removeprefix(base).partition(SAMPLE)
    return before, after
