"""Looks up names of URLs without a request, for checks and for results that name a resource."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse


@dataclass(frozen=True)
class NamedURL:
    """A URL pattern with a name, and the namespaces and arguments on the way to it."""

    #: The names of each namespace around the pattern, outermost first: of instance and app.
    namespaces: tuple[frozenset[str | None], ...] = ()
    name: str = ""
    arguments: frozenset[str] = frozenset()
    #: Groups of its regular expression, named or not.
    groups: int = 0

    def is_called(self, route: str) -> bool:
        """Whether `route` is its name. Outer namespaces may be missing from `route`."""
        *wanted, name = route.split(":")
        outer = len(self.namespaces) - len(wanted)
        if name != self.name or outer < 0:
            return False
        inner = zip(wanted, self.namespaces[outer:], strict=True)
        return all(namespace in names for namespace, names in inner)


def exists(route: str, *, arguments: Iterable[str]) -> bool:
    """Whether a URL has this name and these arguments, in some namespace or below some path."""
    urls = _named_urls(get_resolver().url_patterns, NamedURL())
    return any(url.is_called(route) and url.arguments.issuperset(arguments) for url in urls)


def check(route: str, *, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise NoReverseMatch if no URL of this name could take these arguments.

    A namespace or an argument that a request supplies, such as the version, may be missing.
    """
    if args and kwargs:
        raise NoReverseMatch(f"{route!r}: name all arguments, or none.")
    if not getattr(settings, "ROOT_URLCONF", None):
        return
    try:
        reverse(route, args=args or None, kwargs=dict(kwargs) or None)
    except NoReverseMatch:
        name = route.rpartition(":")[2]
        for url in _named_urls(get_resolver().url_patterns, NamedURL()):
            fits = kwargs.keys() <= url.arguments and len(args) <= url.groups
            if fits and url.name == name:
                return
        raise


def _named_urls(patterns: Iterable[Any], parent: NamedURL) -> Iterator[NamedURL]:
    """The patterns that have a name, and those below resolvers; `parent` is the way to them."""
    for pattern in patterns:
        regex = pattern.pattern.regex
        url = replace(
            parent,
            arguments=parent.arguments | regex.groupindex.keys(),
            groups=parent.groups + regex.groups,
        )
        if isinstance(pattern, URLResolver):
            names = frozenset({pattern.namespace, pattern.app_name})
            yield from _named_urls(
                pattern.url_patterns,
                replace(
                    url,
                    namespaces=(*url.namespaces, names) if pattern.namespace else url.namespaces,
                    arguments=url.arguments | pattern.default_kwargs.keys(),
                ),
            )
        elif isinstance(pattern, URLPattern) and pattern.name:
            arguments = url.arguments | pattern.default_args.keys()
            yield replace(url, name=pattern.name, arguments=arguments)
