"""Names of URLs, as a worker can judge them, which has no request."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse


def check(route: str, *, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise NoReverseMatch where no URL of this name could take these arguments.

    A request may bring a namespace and a version along: they are not missed here.
    """
    if args and kwargs:
        raise NoReverseMatch(f"{route!r}: name all arguments, or none.")
    if not getattr(settings, "ROOT_URLCONF", None):
        return
    try:
        reverse(route, args=args or None, kwargs=dict(kwargs) or None)
    except NoReverseMatch:
        name = route.rpartition(":")[2]
        for other, names, groups in _places(get_resolver().url_patterns):
            if other == name and kwargs.keys() <= names and len(args) <= groups:
                return
        raise


def _places(
    patterns: Iterable[Any], names: frozenset[str] = frozenset(), groups: int = 0
) -> Iterator[tuple[str, frozenset[str], int]]:
    """Each URL's name, the names of its arguments and how many there are."""
    for each in patterns:
        regex = each.pattern.regex
        found, number = names | regex.groupindex.keys(), groups + regex.groups
        if isinstance(each, URLResolver):
            yield from _places(each.url_patterns, found | each.default_kwargs.keys(), number)
        elif isinstance(each, URLPattern) and each.name:
            yield each.name, found | each.default_args.keys(), number
