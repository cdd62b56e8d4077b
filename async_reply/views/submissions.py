"""A request that submits: the new operation's 202, or what an earlier request was answered."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from django.db import Error
from django.http.response import HttpResponseBase
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.response import Response

from async_reply import permissions, services
from async_reply.database import payloads
from async_reply.exceptions import KeyMalformed, KeyMissing, OperationGone, QuotaExceeded
from async_reply.models import Operation
from async_reply.protocol import headers
from async_reply.responses import OperationAccepted
from async_reply.services import Submitted, quotas
from async_reply.services.idempotency import IdempotencyKey
from async_reply.tasks import OperationTask
from async_reply.views import bodies, waiting
from async_reply.waiting import callers, tickets

if TYPE_CHECKING:
    from async_reply.views.submit import LongRunningOperationMixin

#: The attribute of Django's request that counts what was submitted in it.
COUNTER = "async_reply_submissions"
#: A task, and the input that its job is called with.
Work: TypeAlias = tuple[OperationTask[..., Any], Mapping[str, Any]]


class Submission:
    """One request to a view that submits; the view's attributes and hooks say how."""

    def __init__(self, view: "LongRunningOperationMixin", request: Request) -> None:
        self.view = view
        self.request = request
        #: How many operations this request has submitted before.
        self.number: int = getattr(request._request, COUNTER, 0)  # noqa: SLF001 what DRF wraps

    def store(self, validate: Callable[[], Work]) -> Submitted:
        """Submit what `validate` returns, or find what an earlier request has submitted.

        The idempotency key is looked up first, and once more where the request is refused: the
        earlier request may have come in between, and have taken the unique name or the last of
        the quota.
        """
        earlier = self._earlier()
        if earlier is not None:
            return earlier
        try:
            task, values = validate()
            return self._accept(task, values)
        except (drf.ValidationError, QuotaExceeded):
            earlier = self._earlier()
            if earlier is None:
                raise
            return earlier

    def respond(self, submitted: Submitted) -> HttpResponseBase:
        """The 202; where the client prefers to wait, the reply if it comes in time.

        The row is stored: whatever the database does from here on, an error would make the
        client submit it again. Raises OperationGone where it was removed meanwhile.
        """
        operation = submitted.operation
        setattr(self.request._request, COUNTER, self.number + 1)  # noqa: SLF001 what DRF wraps
        accepted = self._accepted(operation, replayed=submitted.replayed)
        owner = permissions.owner(self.request)
        caller = callers.caller(owner, tickets.address(self.request))
        tickets.found(self.request).caller = caller
        seconds = waiting.wanted(self.request, most=self.view.get_max_wait())
        if seconds is None:
            return accepted
        url = accepted.data["links"]["result"]
        try:
            operation.refresh_from_db(fields=["status", "version"])
        except Operation.DoesNotExist:
            raise OperationGone("The operation is gone, and what it answered.") from None
        except Error:
            return accepted
        ticket = tickets.Submit(operation, seconds, caller, url)
        return waiting.hold(self.request, ticket, accepted)

    @cached_property
    def key(self) -> IdempotencyKey | None:
        """The view's `get_idempotency_key`, asked once: it reads uploads to their end.

        A request that submits several operations has one key for each of them.
        """
        key = self.view.get_idempotency_key(self.request)
        if key is None or not self.number:
            return key
        return replace(key, digest=payloads.digest(key.digest, self.number))

    def _earlier(self) -> Submitted | None:
        earlier = self.key.find() if self.key is not None else None
        return None if earlier is None else Submitted(earlier, replayed=True)

    def _accept(self, task: OperationTask[..., Any], values: Mapping[str, Any]) -> Submitted:
        """Store a new operation, within the caller's quota."""
        view = self.view
        owner = permissions.owner(self.request)
        if not owner and view.location_access != "signed":
            raise drf.NotAuthenticated
        name = f"{type(view).__module__}.{type(view).__qualname__}"[-200:]
        quota = quotas.Quota(owner, view=name)
        return services.accept(
            task,
            values=values,
            operation=Operation(
                owner=owner, view=name, reply=self._reply(), retention=view.retention
            ),
            extra=view.get_extra(self.request),
            key=self.key,
            perform=view.perform_submit,
            quota=quota if quota.is_near() else None,
        )

    def _reply(self) -> dict[str, Any]:
        """What the operation's own views need to know of this view."""
        view = self.view
        reply: dict[str, Any] = {
            "redirect_status": view.redirect_status,
            "status": view.result_status,
        }
        if view.location_access == "signed":
            reply["valet_key"] = view.valet_key_scope
        return reply

    def _accepted(self, operation: Operation, *, replayed: bool) -> Response:
        extra = dict(self.view.get_accepted_headers(operation))
        if replayed:
            extra["Idempotent-Replayed"] = "true"
        sent = self.request.headers
        if headers.REPEATABILITY_REQUEST_ID in sent and headers.IDEMPOTENCY_KEY not in sent:
            extra["Repeatability-Result"] = "accepted"
        if "respond-async" in headers.preferences(sent.get("Prefer", "")):
            extra["Preference-Applied"] = "respond-async"
        return OperationAccepted(
            operation,
            self.request,
            location=self.view.location_target,
            monitors=tuple(self.view.operation_headers),
            extra=extra,
        )


def idempotency_key(request: Request, *, scope: str, required: bool) -> IdempotencyKey | None:
    """The request's key, bound to its caller, to `scope` and to what was sent.

    Raises KeyMissing where one is `required`, KeyMalformed, and ParseError for a caller whom
    nothing tells from others.
    """
    field = request.headers.get(
        headers.IDEMPOTENCY_KEY, request.headers.get(headers.REPEATABILITY_REQUEST_ID)
    )
    if field is None:
        if required:
            raise KeyMissing("Send an Idempotency-Key header: a new one for each request.")
        return None
    key = headers.idempotency_key(field)
    if key is None:
        raise KeyMalformed("Idempotency-Key takes 1 to 255 printable ASCII characters.")
    owner = permissions.owner(request)
    if not owner:
        raise drf.ParseError("Only an authenticated caller can use an Idempotency-Key.")
    return IdempotencyKey(
        digest=payloads.digest(owner, scope, key),
        fingerprint=payloads.digest(request.method, request.path, bodies.canonical(request.data)),
    )
