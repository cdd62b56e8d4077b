"""What a project's CORS has to name, so that a browser's page of another origin is a client."""

from collections.abc import Sequence

#: Headers of our answers that a browser hides from such a page unless they are exposed.
EXPOSED = (
    "Accept-Ranges", "Azure-AsyncOperation", "Content-Disposition", "Content-Location",
    "Content-Range", "ETag", "Idempotent-Replayed", "Link", "Location", "Operation-Id",
    "Operation-Location", "Preference-Applied", "Repeatability-Result", "Retry-After",
)  # fmt: skip
#: Headers of requests that such a page may not send unless they are allowed.
ALLOWED = ("idempotency-key", "if-none-match", "last-event-id", "prefer")


def hidden(exposed: Sequence[str]) -> str:
    """Which of our headers CORS_EXPOSE_HEADERS of django-cors-headers hides.

    None, its default, leaves what our views say; any other value takes its place.
    """
    return _missing(EXPOSED, among=exposed) if exposed else ""


def refused(allowed: Sequence[str]) -> str:
    """Which headers CORS_ALLOW_HEADERS keeps a page from sending."""
    return _missing(ALLOWED, among=allowed)


def _missing(names: Sequence[str], *, among: Sequence[str]) -> str:
    known = {each.lower() for each in among}
    return ", ".join(each for each in names if each.lower() not in known)
