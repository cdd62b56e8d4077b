"""The values that settings take, in words and as checks."""

import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any, NamedTuple, TypeAlias

Check: TypeAlias = Callable[[Any], bool]


class Values(NamedTuple):
    """The values that a setting takes."""

    #: In words that follow "it takes".
    words: str
    check: Check

    def include(self, value: Any) -> bool:
        """Whether the setting takes `value`."""
        try:
            return self.check(value)
        except TypeError:
            return False


def is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def is_rate_or_none(value: Any) -> bool:
    """REST framework reads the first letter of the period only."""
    return value is None or _all_match(r"0*[1-9][0-9]*/[smhd][^/]*", [value])


def are_hosts(value: Any) -> bool:
    """Hosts are compared exactly: no host of a request equals a URL or a pattern."""
    return _all_match(r"[^.\s/*][^\s/*]*", value)


def _all_match(pattern: str, value: Any) -> bool:
    """Whether `value` is a list of texts that match; a text is no list."""
    return not isinstance(value, str) and all(
        isinstance(item, str) and re.fullmatch(pattern, item) is not None for item in value
    )


def is_notify(value: Any) -> bool:
    schemes = ("redis://", "rediss://", "unix://")
    return value in (None, "postgresql") or (isinstance(value, str) and value.startswith(schemes))


def are_networks(value: Any) -> bool:
    try:
        return _all_match(".*", value) and all(map(ip_network, value))
    except ValueError:
        return False


def is_base_url(value: Any) -> bool:
    return _all_match(r"https?://[^\s?#]+", [value])


def is_proxy(value: Any) -> bool:
    return _all_match(r"https?://([^\s/?#@]+@)?[A-Za-z0-9._-]+(:[0-9]+)?/?", [value])


def are_schemes(value: Any) -> bool:
    return not isinstance(value, str) and bool(value) and set(value) <= {"http", "https"}


def are_private_keys(value: Any) -> bool:
    return _all_match(r"whsk_([A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{86}==)", value)


PATH = Values("a dotted path", is_text)
PATH_OR_NONE = Values("a dotted path, or None", lambda value: value is None or is_text(value))
SECONDS = Values("a number of seconds above 0", is_positive)
WAIT = Values("a whole number of seconds, 0 for no waiting", is_count)
SECONDS_OR_NONE = Values(
    "a number of seconds above 0, or None", lambda value: value is None or is_positive(value)
)
BYTES = Values("a whole number of bytes", is_count)
