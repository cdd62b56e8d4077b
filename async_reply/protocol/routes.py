"""Names of URLs, as they can be judged without a request."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse


@dataclass(frozen=True)
class Place:
    """A place in the URLconf, and what leads there."""

    #: The names that each namespace goes by, outermost first.
    spaces: tuple[frozenset[str | None], ...] = ()
    name: str = ""
    arguments: frozenset[str] = frozenset()
    groups: int = 0

    def is_called(self, route: str) -> bool:
        """Whether `route` is its name, but for namespaces around it."""
        *wanted, name = route.split(":")
        outer = len(self.spaces) - len(wanted)
        if name != self.name or outer < 0:
            return False
        return all(one in known for one, known in zip(wanted, self.spaces[outer:], strict=True))


def is_there(route: str, *, arguments: Iterable[str]) -> bool:
    """Whether a URL goes by this name below some version: a namespace, or a part of its path."""
    places = _places(get_resolver().url_patterns, Place())
    return any(each.is_called(route) and each.arguments.issuperset(arguments) for each in places)


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
        for place in _places(get_resolver().url_patterns, Place()):
            fits = kwargs.keys() <= place.arguments and len(args) <= place.groups
            if fits and place.name == name:
                return
        raise


def _places(patterns: Iterable[Any], below: Place) -> Iterator[Place]:
    """Those that have a name."""
    for each in patterns:
        regex = each.pattern.regex
        place = replace(
            below,
            arguments=below.arguments | regex.groupindex.keys(),
            groups=below.groups + regex.groups,
        )
        if isinstance(each, URLResolver):
            known = frozenset({each.namespace, each.app_name})
            yield from _places(
                each.url_patterns,
                replace(
                    place,
                    spaces=(*place.spaces, known) if each.namespace else place.spaces,
                    arguments=place.arguments | each.default_kwargs.keys(),
                ),
            )
        elif isinstance(each, URLPattern) and each.name:
            arguments = place.arguments | each.default_args.keys()
            yield replace(place, name=each.name, arguments=arguments)
