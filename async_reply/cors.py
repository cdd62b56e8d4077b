"""The headers that a project's CORS configuration has to name, for pages of another origin."""

from collections.abc import Iterable, Sequence

from async_reply.protocol import headers

#: Headers of our answers. A browser hides them from such a page unless CORS exposes them.
EXPOSED = (
    headers.ACCEPT_RANGES,
    headers.AZURE_ASYNC_OPERATION,
    headers.CONTENT_DISPOSITION,
    headers.CONTENT_LOCATION,
    headers.CONTENT_RANGE,
    headers.ETAG,
    headers.IDEMPOTENT_REPLAYED,
    headers.LINK,
    headers.LOCATION,
    headers.OPERATION_ID,
    headers.OPERATION_LOCATION,
    headers.PREFERENCE_APPLIED,
    headers.REPEATABILITY_RESULT,
    headers.RETRY_AFTER,
)
#: Headers of requests. Such a page may not send them unless CORS allows them.
ALLOWED = tuple(
    name.lower()
    for name in (
        headers.IDEMPOTENCY_KEY,
        headers.IF_NONE_MATCH,
        headers.LAST_EVENT_ID,
        headers.PREFER,
    )
)


def hidden(exposed: Sequence[str]) -> str:
    """The headers of ours that this CORS_EXPOSE_HEADERS hides; empty if it hides none.

    django-cors-headers leaves the list of our views as it is while the setting is empty, and
    replaces it otherwise.
    """
    return _missing(EXPOSED, from_names=exposed) if exposed else ""


def refused(allowed: Sequence[str]) -> str:
    """The headers that this CORS_ALLOW_HEADERS keeps a page from sending; empty if none."""
    return _missing(ALLOWED, from_names=allowed)


def _missing(names: Iterable[str], *, from_names: Iterable[str]) -> str:
    present = {name.lower() for name in from_names}
    return ", ".join(name for name in names if name.lower() not in present)
