"""Turns values into JSON that every database can store, for inputs, results and messages."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from async_reply.exceptions import PayloadError, PayloadTooLarge, UnknownType

# An escaped NUL character: a backslash that is not escaped itself, then u0000.
NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

# MariaDB's check constraint refuses deeper JSON.
MAX_DEPTH = 31


def to_json(value: Any, *, limit: int | None = None) -> Any:
    """`value` as plain JSON values. Dates become ISO 8601 text, Decimal and UUID become text.

    Raises UnknownType for types that JSON does not have, PayloadError for values that JSON or a
    database cannot hold (NaN, infinity, NUL, lone surrogates, more than 31 levels), and
    PayloadTooLarge beyond `limit` bytes. Clients may read the messages of the last two: they
    quote nothing of `value`.
    """
    return to_text_and_json(value, limit=limit)[1]


def to_text_and_json(value: Any, *, limit: int | None = None) -> tuple[str, Any]:
    """Do as `to_json`, and return the text of the JSON as well."""
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
    return text, plain


def _refusal(value: Any) -> PayloadError:
    """The error for a value that the encoder refused."""
    try:
        unknown = _unknown(value, "")
    except RecursionError:
        return PayloadError("The value is nested too deep, or holds itself.")
    if unknown is None:
        return PayloadError("A number is not finite, or has too many digits for JSON.")
    place, part = unknown
    return UnknownType(
        f"{f'{place!r}' if place else 'The value'} is of type {type(part).__qualname__}, which "
        "JSON does not have: convert it to text, a number, a list or a dict first. For a submit, "
        "do so in the view's get_input()."
    )


def _unknown(value: Any, place: str) -> tuple[str, Any] | None:
    """Place and value of the first part of `value` whose type JSON does not have, or None."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str | int | float | None):
                return f"{place}.{key}".lstrip("."), key
        parts: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    else:
        return None if is_known(value) else (place, value)
    results = (_unknown(item, f"{place}.{key}".lstrip(".")) for key, item in parts)
    return next((result for result in results if result is not None), None)


def is_known(value: Any) -> bool:
    """Whether a single value can be stored as JSON: dates, Decimal and UUID are stored as text."""
    if isinstance(value, str | int | float | None):
        return True
    try:
        DjangoJSONEncoder().default(value)
    except (TypeError, ValueError):
        return False
    return True


def to_clean_json(value: Any, *, limit: int) -> Any:
    """Do as `to_json`, with each text as `clean` returns it: for members of a job's error."""
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
    """`text` with NUL and lone surrogates as escapes: every database can store it."""
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
