"""Keeps a rerun from being given twice: by a double click, or by two operators at once.

A page with a command says when it was shown. An operation that was rerun since then is left as it
is. Two requests at the same moment have the same key, so one of them finds the other's operation.
"""

import time
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.http import HttpRequest

from async_reply.admin import frozen
from async_reply.database import payloads
from async_reply.exceptions import AsyncReplyError
from async_reply.models import Operation
from async_reply.services.idempotency import IdempotencyKey

#: The name of the form's field with the time, in seconds.
SHOWN_AT = "shown_at"


class RerunMeanwhile(AsyncReplyError):
    """The operation was rerun since the page was shown: read its page again."""


def context() -> dict[str, Any]:
    """The time of the page, for its forms. A template writes a number as the language does."""
    return {"shown_at": f"{time.time():.3f}"}


def shown_at(request: HttpRequest) -> float | None:
    """When the page was shown that was posted; None if it does not say so."""
    try:
        return frozen.seconds(request.POST.get(SHOWN_AT, ""))
    except IncorrectLookupParameters:
        return None


def key(operation: Operation, *, shown_at: float) -> IdempotencyKey:
    """The key of the next rerun. Raises RerunMeanwhile if there is one since `shown_at`."""
    last = operation.reruns.order_by("-pk").values_list("pk", flat=True).first()
    if last is not None and last > frozen.smallest_id(0, at=shown_at):
        raise RerunMeanwhile("The operation was rerun in the meantime: its page shows the new one.")
    digest = payloads.digest("async_reply.admin.rerun", operation.pk, last)
    return IdempotencyKey(digest, fingerprint=digest)
