"""Handles one request to a view that submits: stores the operation and makes the 202."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from django.db import Error
from django.http.response import HttpResponseBase
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.response import Response

from async_reply import conf, permissions, services
from async_reply.database import inserts, payloads
from async_reply.exceptions import KeyMalformed, KeyMissing, OperationGone, QuotaExceeded
from async_reply.models import Operation
from async_reply.protocol import headers
from async_reply.responses import OperationAccepted
from async_reply.services import Submitted, quotas
from async_reply.services.idempotency import IdempotencyKey
from async_reply.tasks import OperationTask
from async_reply.views import bodies, callbacks, waiting
from async_reply.views.base import is_said
from async_reply.waiting import callers, tickets

if TYPE_CHECKING:
    from async_reply.views.submit import LongRunningOperationMixin

#: The attribute of Django's request that counts the operations it has submitted.
COUNTER = "async_reply_submissions"
#: A task, and the input of its job.
Work: TypeAlias = tuple[OperationTask[..., Any], Mapping[str, Any]]


class Submission:
    """One submit by a request. The view's attributes and hooks say how."""

    def __init__(self, view: "LongRunningOperationMixin", request: Request) -> None:
        self.view = view
        self.request = request
        #: The number of operations that this request has submitted before this one.
        self.earlier_submits: int = getattr(request._request, COUNTER, 0)  # noqa: SLF001 what DRF wraps

    def store(self, validate: Callable[[], Work]) -> Submitted:
        """Submit the operation, or find the one that an earlier request with this key submitted.

        The idempotency key is looked up first, and again when validation or the quota refuses the
        request. An earlier request may be the cause: it finished in between, and took a unique
        name or the last place of the quota.
        """
        earlier = self._earlier()
        if earlier is not None:
            return earlier
        try:
            task, values = validate()
            with bodies.types_of(self.request):
                return self._accept(task, values)
        except (drf.ValidationError, QuotaExceeded):
            earlier = self._earlier()
            if earlier is None:
                raise
            return earlier

    def respond(self, submitted: Submitted) -> HttpResponseBase:
        """The 202, or the result if the client prefers to wait and the result comes in time.

        The row is stored, so a database error must not reach the client: a client that gets an
        error submits again. Raises OperationGone when the operation was deleted in between.
        """
        operation = submitted.operation
        setattr(self.request._request, COUNTER, self.earlier_submits + 1)  # noqa: SLF001 what DRF wraps
        accepted = self._accepted(operation, replayed=submitted.replayed)
        owner = permissions.owner(self.request)
        caller = callers.caller(owner, tickets.address(self.request))
        tickets.of(self.request).caller = caller
        most, default = self.view.get_max_wait(), self._default_wait()
        seconds = waiting.wanted(self.request, most=most, default=default)
        if seconds is None:
            return accepted
        url = accepted.data["links"]["result"]
        try:
            operation.refresh_from_db(fields=["status", "version"])
        except Operation.DoesNotExist:
            raise OperationGone("The operation was deleted: submit the request again.") from None
        except Error:
            return accepted
        is_preferred = headers.wait(self.request.headers.get(headers.PREFER, "")) is not None
        ticket = tickets.Submit(operation, seconds, caller, url, is_preferred)
        return waiting.hold(self.request, ticket, accepted)

    def _default_wait(self) -> int | None:
        """The seconds for a client that did not say whether it waits; None for no wait."""
        said = headers.preferences(self.request.headers.get(headers.PREFER, ""))
        if {"wait", "respond-async"} & said.keys():
            return None
        default = self.view.default_wait
        return (conf.get("DEFAULT_WAIT") if default is None else default) or None

    @cached_property
    def key(self) -> IdempotencyKey | None:
        """The key by the view's `get_idempotency_key`, which is called once: it reads uploads.

        In a request that submits several operations, each operation gets a key of its own.
        """
        key = self.view.get_idempotency_key(self.request)
        if key is None or not self.earlier_submits:
            return key
        return replace(key, digest=payloads.digest(key.digest, self.earlier_submits))

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
        operation: Operation = inserts.new(
            Operation,
            owner=owner,
            view=name,
            reply=self._attributes(),
            retention=view.retention,
            traceparent=headers.traceparent(self.request.headers.get(headers.TRACEPARENT, "")),
        )
        if view.webhook:
            callbacks.read(self.request, operation, whole=view.webhook == "document")
        return services.accept(
            task,
            values=values,
            operation=operation,
            extra=view.get_extra(self.request),
            key=self.key,
            # A single row needs no transaction.
            perform=view.perform_submit if is_said(view, "perform_submit") else None,
            quota=quota if quota.is_near() else None,
        )

    def _attributes(self) -> dict[str, Any]:
        """The attributes of this view that the operation's views read from its row."""
        view = self.view
        attributes: dict[str, Any] = {
            "redirect_status": view.redirect_status or conf.get("REDIRECT_STATUS"),
            "status": view.result_status,
        }
        if view.location_access == "signed":
            attributes["valet_key"] = view.valet_key_scope
        return attributes

    def _accepted(self, operation: Operation, *, replayed: bool) -> Response:
        extra = dict(self.view.get_accepted_headers(operation))
        if replayed:
            extra[headers.IDEMPOTENT_REPLAYED] = "true"
        sent = self.request.headers
        if headers.REPEATABILITY_REQUEST_ID in sent and headers.IDEMPOTENCY_KEY not in sent:
            extra[headers.REPEATABILITY_RESULT] = "accepted"
        if "respond-async" in headers.preferences(sent.get(headers.PREFER, "")):
            extra[headers.PREFERENCE_APPLIED] = "respond-async"
        return OperationAccepted(
            operation,
            self.request,
            location=self.view.location_target,
            monitors=tuple(self.view.operation_headers),
            extra=extra,
        )


def idempotency_key(request: Request, *, scope: str, required: bool) -> IdempotencyKey | None:
    """The request's idempotency key, with its caller, the `scope` and a fingerprint of the body.

    None without a key. Raises KeyMissing if the key is `required`, KeyMalformed, and ParseError
    (400) for a caller without an owner, whose key would clash with those of others.
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
