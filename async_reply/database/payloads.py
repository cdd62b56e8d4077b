"""JSON as it is stored: what the databases refuse is found before they see it."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from async_reply.exceptions import PayloadError, PayloadTooLarge, UnknownType

# An escaped NUL: a backslash that is not itself escaped, then u0000.
NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

# MariaDB's check constraint refuses deeper JSON; reading it back must not exhaust the stack.
MAX_DEPTH = 31


def to_json(value: Any, *, limit: int | None = None) -> Any:
    """`value` as plain JSON values; dates become ISO 8601, Decimal and UUID strings.

    Raises UnknownType for what JSON has no values for; PayloadError for what JSON or a database
    cannot hold (NaN, infinity, NUL, lone surrogates, more than 31 levels), PayloadTooLarge beyond
    `limit` bytes. Clients may read these two, which quote nothing.
    """
    try:
        text = json.dumps(value, cls=DjangoJSONEncoder, allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
        plain = json.loads(text)
    except UnicodeEncodeError as error:
        raise PayloadError("A text holds half a surrogate pair: it is not Unicode.") from error
    except RecursionError as error:
        raise PayloadError("The value is nested too deep, or holds itself.") from error
    except (TypeError, ValueError) as error:
        raise _refusal(value) from error
    if NUL.search(text):
        raise PayloadError("A text holds the NUL character, which databases refuse.")
    if limit is not None and size > limit:
        raise PayloadTooLarge(f"The value takes {size:,} bytes of JSON; {limit:,} are allowed.")
    if _is_deeper(plain, MAX_DEPTH):
        raise PayloadError(f"The value is nested deeper than {MAX_DEPTH} levels.")
    return plain


def _refusal(value: Any) -> PayloadError:
    """What to raise for a value that the encoder does not take."""
    try:
        unknown = _unknown(value, "")
    except RecursionError:
        return PayloadError("The value is nested too deep, or holds itself.")
    if unknown is None:
        return PayloadError("A number is not finite, or has too many digits: JSON has no such one.")
    place, found = unknown
    return UnknownType(
        f"{f'{place!r}' if place else 'The value'} is of type {type(found).__qualname__}, which "
        "JSON has not: make it text, a number, a list or a dict first, for a submit in the view's "
        "get_input()."
    )


def _unknown(value: Any, place: str) -> tuple[str, Any] | None:
    """The first part of `value` whose type JSON does not know, and where it is; None for none."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str | int | float | None):
                return f"{place}.{key}".lstrip("."), key
        parts: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    else:
        return None if is_known(value) else (place, value)
    found = (_unknown(item, f"{place}.{key}".lstrip(".")) for key, item in parts)
    return next((each for each in found if each is not None), None)


def is_known(value: Any) -> bool:
    """Whether a single value has a type that is stored as JSON: dates, Decimal and UUID as text."""
    if isinstance(value, str | int | float | None):
        return True
    try:
        DjangoJSONEncoder().default(value)
    except (TypeError, ValueError):
        return False
    return True


def told(value: Any, *, limit: int) -> Any:
    """`value` as `to_json` has it, texts as `clean` has them: what a job says to its client."""
    try:
        return to_json(_cleaned(value), limit=limit)
    except RecursionError as error:
        raise PayloadError("The value is nested too deep, or holds itself.") from error


def _cleaned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {clean(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return clean(value) if isinstance(value, str) else value


def clean(text: object) -> str:
    """`text` as any database takes it: NUL and lone surrogates as their escapes."""
    return str(text).replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def digest(*parts: Any) -> str:
    """SHA-256 (64 hex digits) over the canonical JSON of `parts`: equal values, equal digests."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), cls=DjangoJSONEncoder)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in items)
