"""Submitting: the view a project subclasses, and the mixin it is made of."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from django.http.response import HttpResponseBase
from rest_framework import exceptions as drf
from rest_framework.authentication import BaseAuthentication
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.versioning import URLPathVersioning

from async_reply import forecasts, headers, parking, payloads, quotas, services
from async_reply.exceptions import KeyMalformed, KeyMissing, OperationGone, QuotaExceeded
from async_reply.idempotency import IdempotencyKey
from async_reply.models import Operation
from async_reply.responses import OperationAccepted
from async_reply.status import FINAL
from async_reply.tasks import OperationTask
from async_reply.views import bodies
from async_reply.views.waiting import WaitingMixin, applied


class LongRunningOperationMixin(WaitingMixin):
    """Adds `submit` to any REST framework view.

    Authentication and permissions are those of the project's OperationAccess unless the view
    sets its own.
    """

    authentication_classes: Any = None
    permission_classes: Any = None

    #: Where Location points: "status", or "result" for clients that know nothing else.
    location_target: ClassVar[str] = "status"
    #: "owner": links work with the submitter's credentials; "signed": for whoever has them, by a
    #: valet key, which anonymous submits need.
    location_access: ClassVar[str] = "owner"
    #: What a valet key allows: "read", or "cancel" besides.
    valet_key_scope: ClassVar[str] = "read"
    #: Headers that name the monitor URL.
    operation_headers: ClassVar[Sequence[str]] = ("Operation-Location",)
    #: How the status URL answers a finished operation: 302 or 303.
    redirect_status: ClassVar[int] = 302
    #: The status of the result itself.
    result_status: ClassVar[int] = 200
    #: Seconds the result is kept; None: as the kind or the setting says.
    retention: ClassVar[int | None] = None
    #: Seconds for which a client may wait for the reply itself (`Prefer: wait`), 0: it may not;
    #: None: as the setting MAX_WAIT says.
    max_wait: ClassVar[int | None] = None
    #: Whether a request without Idempotency-Key is refused.
    idempotency_key_required: ClassVar[bool] = False

    def get_authenticators(self) -> list[BaseAuthentication]:
        if self.authentication_classes is None:
            return self.access.get_authenticators()
        return super().get_authenticators()

    def get_permissions(self) -> Any:
        if self.permission_classes is None:
            return self.access.get_permissions()
        return super().get_permissions()

    def submit(
        self,
        request: Request,
        task: OperationTask[..., Any],
        input: Mapping[str, Any],
    ) -> HttpResponseBase:
        """Store the operation and answer 202; a replayed idempotency key gets its first receipt.

        Raises what `services.submit` raises, QuotaExceeded, and REST framework's exceptions.
        """
        return self.once(request, lambda: self.accept(request, task, input))

    def once(self, request: Request, answer: Callable[[], HttpResponseBase]) -> HttpResponseBase:
        """`answer()`, or the receipt of an earlier request with the same key.

        That is looked for first, and again where `answer` refuses: the earlier request may have
        come in between, and have taken the unique name or the last of the quota.
        """
        replayed = self.replay(request)
        if replayed is not None:
            return replayed
        try:
            return answer()
        except (drf.ValidationError, QuotaExceeded):
            replayed = self.replay(request)
            if replayed is None:
                raise
            return replayed

    def replay(self, request: Request) -> HttpResponseBase | None:
        """The receipt of an earlier request with the same key: before anything is validated."""
        key = self.idempotency_key
        earlier = key.find() if key is not None else None
        return None if earlier is None else self.respond(earlier, replayed=True)

    def accept(
        self, request: Request, task: OperationTask[..., Any], values: Mapping[str, Any]
    ) -> HttpResponseBase:
        """Store a new operation, within the caller's quota."""
        owner = self.access.get_owner(request)
        if not owner and self.location_access != "signed":
            raise drf.NotAuthenticated
        bounded = quotas.check(owner)
        submitted = services.accept(
            task,
            values=values,
            operation=Operation(
                owner=owner,
                view=self.get_name(),
                reply=self.get_reply(),
                retention=self.retention,
            ),
            extra=self.get_extra(request),
            key=self.idempotency_key,
            perform=self.perform_submit,
            bounded=bounded,
        )
        return self.respond(submitted.operation, replayed=submitted.replayed)

    def respond(self, operation: Operation, *, replayed: bool) -> HttpResponseBase:
        """The 202; where the client prefers to wait, the reply if it comes in time.

        The row is committed: whatever the database does from here on, an error would make the
        client submit it again. Raises OperationGone where it was removed meanwhile.
        """
        accepted = self.get_accepted(operation, replayed=replayed)
        seconds = self.get_wait()
        if seconds is None:
            return accepted
        submit = partial(parking.Submit, operation, url=accepted.data["links"]["result"])
        try:
            operation.refresh_from_db(fields=["status", "version"])
        except Operation.DoesNotExist:
            raise OperationGone("The operation is gone, and what it answered.") from None
        except Error:
            return accepted
        if operation.status in FINAL:
            reply = self.after_wait(accepted, submit(seconds=seconds), over=True)
            return applied(reply, seconds)
        return self.hold(operation, accepted, submit)

    def after_wait(
        self, response: Response, ticket: parking.Wait, *, over: bool
    ) -> HttpResponseBase:
        """The reply, by the result's own view; the 202 where there is none to be had."""
        if over:
            reply = self.ask(ticket.url)
            if headers.is_reply(reply.status_code):
                reply["Content-Location"] = ticket.url
                for name in headers.OF_THE_KEY & set(response.headers):
                    reply[name] = response[name]
                return reply
        response["Retry-After"] = str(forecasts.retry_after_submit(ticket.operation))
        return response

    def get_max_wait(self) -> int:
        return super().get_max_wait() if self.max_wait is None else self.max_wait

    def perform_submit(self, operation: Operation) -> None:
        """A hook inside the transaction that inserts the operation: write what belongs to it.

        Called again where that transaction failed for what others did at the same time.
        """

    def get_extra(self, request: Request) -> Mapping[str, Any]:
        """What the project wants to keep with the operation; JSON values."""
        return {}

    def get_reply(self) -> dict[str, Any]:
        """What the operation's views need to know of this view."""
        reply: dict[str, Any] = {
            "redirect_status": self.redirect_status,
            "status": self.result_status,
        }
        if self.location_access == "signed":
            reply["valet_key"] = self.valet_key_scope
        return reply

    def get_name(self) -> str:
        """The scope of idempotency keys."""
        action = getattr(self, "action", None)
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return (f"{name}.{action}" if action else name)[-200:]

    def get_accepted_headers(self, operation: Operation) -> Mapping[str, str]:
        """Further headers for the 202."""
        return {}

    def get_accepted(self, operation: Operation, *, replayed: bool) -> Response:
        extra = dict(self.get_accepted_headers(operation))
        if replayed:
            extra["Idempotent-Replayed"] = "true"
        sent = self.request.headers
        if headers.KEY_ALIAS in sent and headers.KEY not in sent:
            extra["Repeatability-Result"] = "accepted"
        if "respond-async" in headers.preferences(self.request.headers.get("Prefer", "")):
            extra["Preference-Applied"] = "respond-async"
        return OperationAccepted(
            operation,
            self.request,
            location=self.location_target,
            monitors=tuple(self.operation_headers),
            extra=extra,
        )

    @cached_property
    def idempotency_key(self) -> IdempotencyKey | None:
        """`get_idempotency_key`, asked once: it reads uploads to their end."""
        return self.get_idempotency_key(self.request)

    def get_idempotency_key(self, request: Request) -> IdempotencyKey | None:
        """The request's key, bound to its caller, this view and what was sent."""
        field = request.headers.get(headers.KEY, request.headers.get(headers.KEY_ALIAS))
        if field is None:
            if self.idempotency_key_required:
                raise KeyMissing("Send an Idempotency-Key header: a new one for each request.")
            return None
        key = headers.idempotency_key(field)
        if key is None:
            raise KeyMalformed("Idempotency-Key takes 1 to 255 printable ASCII characters.")
        owner = self.access.get_owner(request)
        if not owner:
            raise drf.ParseError("Only an authenticated caller can use an Idempotency-Key.")
        return IdempotencyKey(
            digest=payloads.digest(owner, self.get_name(), key),
            fingerprint=payloads.digest(
                request.method, request.path, bodies.canonical(request.data)
            ),
        )


class LongRunningOperationView(LongRunningOperationMixin, GenericAPIView[Any]):
    """POST validates by `serializer_class` and submits to `task`; the answer is 202."""

    task: ClassVar[OperationTask[..., Any]]
    #: Documents the result; nothing is validated by it.
    result_serializer_class: ClassVar[type[BaseSerializer[Any]] | None] = None

    def post(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not hasattr(self, "task"):
            raise ImproperlyConfigured(f"Set {type(self).__name__}.task to an @operation_task.")
        return self.once(request, lambda: self.validate_and_accept(request))

    def validate_and_accept(self, request: Request) -> HttpResponseBase:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return self.accept(request, self.task, self.get_input(serializer))

    def get_input(self, serializer: BaseSerializer[Any]) -> dict[str, Any]:
        """The job's input: the validated data, a list under `items`, and the URL's kwargs.

        The API's version is none of the job's business.
        """
        data = bodies.plain(serializer.validated_data)
        values: dict[str, Any] = data if isinstance(data, dict) else {"items": data}
        scheme = self.request.versioning_scheme
        version = scheme.version_param if isinstance(scheme, URLPathVersioning) else None
        return {**values, **{name: self.kwargs[name] for name in self.kwargs if name != version}}
