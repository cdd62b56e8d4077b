"""Names of HTTP header fields, and functions that read and write their values."""

import re
from collections.abc import Mapping

# Names of fields: each constant is the name in capitals.
ACCEPT = "Accept"
ACCEPT_RANGES = "Accept-Ranges"
ACCESS_CONTROL_EXPOSE_HEADERS = "Access-Control-Expose-Headers"
AUTHORIZATION = "Authorization"
AZURE_ASYNC_OPERATION = "Azure-AsyncOperation"
CACHE_CONTROL = "Cache-Control"
CONTENT_DISPOSITION = "Content-Disposition"
CONTENT_LENGTH = "Content-Length"
CONTENT_LOCATION = "Content-Location"
CONTENT_RANGE = "Content-Range"
CONTENT_TYPE = "Content-Type"
COOKIE = "Cookie"
ETAG = "ETag"
EXPECT = "Expect"
EXPIRES = "Expires"
IDEMPOTENCY_KEY = "Idempotency-Key"
IDEMPOTENT_REPLAYED = "Idempotent-Replayed"
IF_MATCH = "If-Match"
IF_NONE_MATCH = "If-None-Match"
IF_RANGE = "If-Range"
LAST_EVENT_ID = "Last-Event-ID"
LINK = "Link"
LOCATION = "Location"
OPERATION_ID = "Operation-Id"
OPERATION_LOCATION = "Operation-Location"
ORIGIN = "Origin"
PREFER = "Prefer"
PREFERENCE_APPLIED = "Preference-Applied"
RANGE = "Range"
REFERRER_POLICY = "Referrer-Policy"
#: The idempotency key of OASIS Repeatable Requests. It counts when Idempotency-Key is absent.
REPEATABILITY_REQUEST_ID = "Repeatability-Request-ID"
REPEATABILITY_RESULT = "Repeatability-Result"
RETRY_AFTER = "Retry-After"
SET_COOKIE = "Set-Cookie"
#: The trace that a request belongs to (W3C Trace Context, section 3.2).
TRACEPARENT = "Traceparent"
TRANSFER_ENCODING = "Transfer-Encoding"
VARY = "Vary"
X_ACCEL_BUFFERING = "X-Accel-Buffering"
X_CONTENT_TYPE_OPTIONS = "X-Content-Type-Options"

#: Fields of a 202 that answer the client's idempotency key. A result sent instead of the 202 has
#: them too.
KEY_ANSWERS = frozenset({IDEMPOTENT_REPLAYED, REPEATABILITY_RESULT})

# Values of Cache-Control.
#: A browser may keep the answer to a poll, but asks again by If-None-Match before it uses it.
POLLED = "private, no-cache"
PRIVATE = "private, no-store"

#: The Content-Type of server-sent events.
EVENT_STREAM = "text/event-stream"
#: The fields of a request that change our answers.
VARY_ON = (ACCEPT, AUTHORIZATION, COOKIE, PREFER)
#: The longest wait that is read from a Prefer field.
DECADE_SECONDS = 315_360_000

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

# A weight of zero (RFC 9110, section 12.4.2).
_REFUSED = re.compile(r"q\s*=\s*0(\.0*)?")
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_QUOTED_KEY = re.compile(r'"(?:[^"\\]|\\["\\])*"')
_ENTITY_TAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')

# No file has more than 10**18 bytes. A longer number is refused before it is parsed.
_BYTE_RANGE = re.compile(r"(?i:bytes)=(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))")

# RFC 9110, section 8.3.1, with a looser syntax for parameters. 255 is the width of the column.
_MEDIA_TYPE = re.compile(
    r"(?=.{3,255}\Z)[!#$%&'*+.^_`|~\w-]+/[!#$%&'*+.^_`|~\w-]+ ?(;[ -~]*)?", re.ASCII
)


def entity_tag(version: int) -> str:
    """The weak entity tag of an operation's version (RFC 9110, section 8.8.3).

    It is weak because the estimates in a document change while the version stays.
    """
    return f'W/"{version}"'


def none_match(field: str, tag: str) -> bool:
    """Whether an If-None-Match `field` names `tag`, compared weakly (RFC 9110, section 13.1.2)."""
    if not field:
        return False
    if field.strip() == "*":
        return True
    match = _ENTITY_TAG.fullmatch(tag)
    return match is not None and match[1] in _ENTITY_TAG.findall(field)


def is_media_type(field: str) -> bool:
    """Whether `field` is a valid Content-Type of at most 255 characters."""
    return _MEDIA_TYPE.fullmatch(field) is not None


def strong_tag(sha256: str) -> str:
    """The strong entity tag of a file with this hash: only equal bytes have equal tags."""
    return f'"{sha256}"'


def byte_range(field: str, size: int) -> range | None:
    """The positions that a Range `field` asks for, in a file of `size` bytes (RFC 9110, 14.1.2).

    None if the field is malformed, has another unit or several parts: a server may then send the
    whole file. An empty range if the file has none of the positions.
    """
    match = _BYTE_RANGE.fullmatch(field.strip())
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        # Any suffix of an empty file is the whole file. No Content-Range can say so: send it whole.
        return None if size == 0 and int(suffix) else range(max(0, size - int(suffix)), size)
    if last is not None and int(last) < int(first):
        return None
    end = size if last is None else min(size, int(last) + 1)
    return range(min(int(first), size), end)


def content_range(part: range, size: int) -> str:
    """The Content-Range field of a 206; of a 416 if `part` is empty."""
    return f"bytes {part[0]}-{part[-1]}/{size}" if part else f"bytes */{size}"


def if_range(field: str, tag: str) -> bool:
    """Whether a range may be answered: the If-Range `field` is absent, or is exactly `tag`.

    A weak tag never matches (RFC 9110, 13.1.5). A date never matches: we send no Last-Modified.
    """
    return not field or (field.strip() == tag and not tag.startswith("W/"))


def link(targets: Mapping[str, str]) -> str:
    """The Link field (RFC 8288) for a mapping of relation -> absolute URL."""
    return ", ".join(f'<{url}>; rel="{relation}"' for relation, url in targets.items())


def idempotency_key(field: str) -> str | None:
    """The key in an Idempotency-Key field; None if the field is malformed.

    A key is 1-255 characters of printable ASCII, in quotes (an RFC 8941 string) or without.
    """
    key = field
    if field.startswith('"'):
        if not _QUOTED_KEY.fullmatch(field):
            return None
        key = re.sub(r"\\(.)", r"\1", field[1:-1])
    return key if _KEY.fullmatch(key) else None


def traceparent(field: str) -> str:
    """The value of a Traceparent field as version 00; '' for a malformed one.

    A field of a later version is read as W3C Trace Context says (section 4.3): its beginning is
    that of version 00, and only the flag "sampled" is known.
    """
    match = _TRACEPARENT.fullmatch(field.strip(" \t"))
    if match is None:
        return ""
    version, trace_id, parent_id, flags, more = match.groups()
    is_malformed = version == "ff" or (version == "00" and more is not None)
    if is_malformed or not (int(trace_id, 16) and int(parent_id, 16)):
        return ""
    return f"00-{trace_id}-{parent_id}-{int(flags, 16) & 1:02x}"


def preferences(field: str) -> dict[str, str]:
    """The preferences in a Prefer field (RFC 7240): name in lower case -> value.

    If a name occurs twice, its first value counts.
    """
    values: dict[str, str] = {}
    for part in _split(field, ","):
        for preference in _split(part, ";")[:1]:
            name, _, value = preference.partition("=")
            if name.strip():
                values.setdefault(name.strip().lower(), value.strip().strip('"'))
    return values


def wait(field: str) -> int | None:
    """The seconds of `wait` in a Prefer field (RFC 7240, section 4.3), at most a decade.

    None if the field has no `wait`, or its value is not a whole number.
    """
    value = preferences(field).get("wait", "") if field else ""
    if not (value.isascii() and value.isdigit()):
        return None
    return int(value) if len(value) < 9 else DECADE_SECONDS


def applied(field: str, seconds: int) -> str:
    """The Preference-Applied `field` with `wait=seconds` added (RFC 7240, section 3)."""
    return f"{field}, wait={seconds}" if field else f"wait={seconds}"


def number(text: str) -> int | None:
    """The whole number below 10**9 that `text` is; None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def last_event_id(field: str) -> int:
    """The number in a Last-Event-ID field; 0 if the field holds none."""
    return number(field) or 0


def accepts_stream(field: str) -> bool:
    """Whether an Accept `field` names server-sent events, as that of a browser's EventSource does.

    A wildcard does not count: it comes from clients that take anything, and JSON suits them better.
    """
    if EVENT_STREAM not in field.lower():
        return False
    for part in _split(field, ","):
        media_type, *parameters = (item.strip().lower() for item in _split(part, ";"))
        if media_type == EVENT_STREAM:
            return not any(_REFUSED.fullmatch(parameter) for parameter in parameters)
    return False


def _split(field: str, separator: str) -> list[str]:
    """The parts of `field` between separators. A separator in quotes does not split."""
    return re.findall(rf'(?:[^"{separator}]|"(?:[^"\\]|\\.)*"?)+', field)
