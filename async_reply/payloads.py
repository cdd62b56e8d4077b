"""JSON as it is stored: what the databases refuse is found before they see it."""

import hashlib
import json
import re
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from async_reply.exceptions import PayloadError, PayloadTooLarge

# An escaped NUL: a backslash that is not itself escaped, then u0000.
NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

# MariaDB's check constraint refuses deeper JSON; reading it back must not exhaust the stack.
MAX_DEPTH = 31


def to_json(value: Any, *, limit: int | None = None) -> Any:
    """`value` as plain JSON values; dates become ISO 8601, Decimal and UUID strings.

    Raises PayloadError for what JSON or a database cannot hold (NaN, infinity, NUL, lone
    surrogates, other types, more than 31 levels), PayloadTooLarge beyond `limit` bytes.
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
        raise PayloadError(f"The value is not JSON: {error}.") from error
    if NUL.search(text):
        raise PayloadError("A text holds the NUL character, which databases refuse.")
    if limit is not None and size > limit:
        raise PayloadTooLarge(f"The value takes {size:,} bytes of JSON; {limit:,} are allowed.")
    if _is_deeper(plain, MAX_DEPTH):
        raise PayloadError(f"The value is nested deeper than {MAX_DEPTH} levels.")
    return plain


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
