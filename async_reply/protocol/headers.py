"""The syntax of HTTP headers, as pure functions."""

import re
from collections.abc import Mapping

PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")
QUOTED_KEY = re.compile(r'"(?:[^"\\]|\\["\\])*"')
ENTITY_TAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')

# Positions of more digits than any file has bytes are not worth a big integer.
BYTE_RANGE = re.compile(r"(?i:bytes)=(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))")

# RFC 9110, section 8.3.1, the parameters less strictly; as long as its column.
MEDIA_TYPE = re.compile(
    r"(?=.{3,255}\Z)[!#$%&'*+.^_`|~\w-]+/[!#$%&'*+.^_`|~\w-]+ ?(;[ -~]*)?", re.ASCII
)

KEY = "Idempotency-Key"
#: OASIS Repeatable Requests; counts where the other is absent.
KEY_ALIAS = "Repeatability-Request-ID"
#: What is said of the key, by the 202 or by the reply in its place.
OF_THE_KEY = frozenset({"Idempotent-Replayed", "Repeatability-Result"})

POLLED = "private, no-cache"
PRIVATE = "private, no-store"
EVENTS = "text/event-stream"
DECADE = 315_360_000
VARY = ("Accept", "Authorization", "Cookie", "Prefer")


def entity_tag(version: int) -> str:
    """A weak entity tag (RFC 9110, section 8.8.3): estimates vary under one version."""
    return f'W/"{version}"'


def none_match(field: str, tag: str) -> bool:
    """Whether an If-None-Match `field` names `tag`, compared weakly (RFC 9110, section 13.1.2)."""
    if field.strip() == "*":
        return True
    wanted = ENTITY_TAG.fullmatch(tag)
    return wanted is not None and wanted[1] in ENTITY_TAG.findall(field)


def is_media_type(field: str) -> bool:
    """Whether `field` may stand in a Content-Type."""
    return MEDIA_TYPE.fullmatch(field) is not None


def strong_tag(sha256: str) -> str:
    """A strong entity tag: the same bytes, and no others, have it."""
    return f'"{sha256}"'


def byte_range(field: str, size: int) -> range | None:
    """The positions a Range `field` asks of `size` bytes (RFC 9110, section 14.1.2).

    None where it is to be ignored: malformed, of another unit, or of several parts, which a
    server may answer with the whole. Empty where it cannot be satisfied.
    """
    match = BYTE_RANGE.fullmatch(field.strip())
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        # Of an empty file each suffix is the whole, and a Content-Range cannot say so.
        return None if size == 0 and int(suffix) else range(max(0, size - int(suffix)), size)
    if last is not None and int(last) < int(first):
        return None
    end = size if last is None else min(size, int(last) + 1)
    return range(min(int(first), size), end)


def content_range(part: range, size: int) -> str:
    """A Content-Range field; that of a 416 when `part` is empty."""
    return f"bytes {part[0]}-{part[-1]}/{size}" if part else f"bytes */{size}"


def if_range(field: str, tag: str) -> bool:
    """Whether an If-Range `field` lets the range count: it is absent, or `tag` to the letter.

    Compared strongly; a date never matches, since we send no Last-Modified (RFC 9110, 13.1.5).
    """
    return not field or (field.strip() == tag and not tag.startswith("W/"))


def link(targets: Mapping[str, str]) -> str:
    """A Link field (RFC 8288) of relation -> absolute URL."""
    return ", ".join(f'<{url}>; rel="{relation}"' for relation, url in targets.items())


def idempotency_key(field: str) -> str | None:
    """The key of an Idempotency-Key field, quoted (RFC 8941 string) or bare; None if malformed.

    A key is 1-255 characters of printable ASCII.
    """
    key = field
    if field.startswith('"'):
        if not QUOTED_KEY.fullmatch(field):
            return None
        key = re.sub(r"\\(.)", r"\1", field[1:-1])
    return key if PRINTABLE.fullmatch(key) else None


def preferences(field: str) -> dict[str, str]:
    """The preferences of a Prefer field (RFC 7240): name in lower case -> value, the first wins."""
    found: dict[str, str] = {}
    for part in _split(field, ","):
        for preference in _split(part, ";")[:1]:
            name, _, value = preference.partition("=")
            if name.strip():
                found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def wait(field: str) -> int | None:
    """The seconds of a Prefer field's `wait` (RFC 7240, section 4.3); None for none, or no number.

    More than a decade is a decade.
    """
    value = preferences(field).get("wait", "")
    if not (value.isascii() and value.isdigit()):
        return None
    return int(value) if len(value) < 9 else DECADE


def applied(field: str, seconds: int) -> str:
    """A Preference-Applied `field` with the wait of `seconds` added (RFC 7240, section 3)."""
    return f"{field}, wait={seconds}" if field else f"wait={seconds}"


def last_event_id(field: str) -> int:
    """The version that a Last-Event-ID field names; 0 for none of ours."""
    return int(field) if field.isascii() and field.isdigit() and len(field) < 10 else 0


def _split(field: str, separator: str) -> list[str]:
    """The parts of `field` between separators; those within quotes do not count."""
    return re.findall(rf'(?:[^"{separator}]|"(?:[^"\\]|\\.)*"?)+', field)
