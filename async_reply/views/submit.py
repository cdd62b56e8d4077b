"""Submitting: the view a project subclasses, and the mixin it is made of."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions as drf
from rest_framework.authentication import BaseAuthentication
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer
from rest_framework.versioning import URLPathVersioning
from rest_framework.views import APIView

from async_reply import conf, permissions
from async_reply.models import Operation
from async_reply.responses import refusal
from async_reply.services.idempotency import IdempotencyKey
from async_reply.tasks import OperationTask
from async_reply.views import bodies
from async_reply.views.base import ProblemsMixin, atomic_requests, dress, is_said
from async_reply.views.submissions import Submission, Work, idempotency_key

UNKNOWN_FIELD = _("This field is not known: leave it out.")


class LongRunningOperationMixin(APIView):
    """Adds `submit` to a view of REST framework, and changes nothing else of it.

    Authentication, permissions, throttles, transactions and the form of errors stay those of the
    view. `submit` asks for an owner besides, unless the links are signed.
    """

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

    def submit(
        self,
        request: Request,
        task: OperationTask[..., Any],
        input: Mapping[str, Any],
    ) -> HttpResponseBase:
        """Store the operation and answer 202; a replayed idempotency key gets its first receipt.

        Errors of ours, and a database that is away, are answered by a problem document. REST
        framework's exceptions (NotAuthenticated without an owner) and TypeError for an input that
        the task does not take are raised. Inside a transaction of the view's the operation is
        stored with it, and sent to a worker once it is committed.
        """
        return self._submit(request, lambda: (task, input))

    def _submit(self, request: Request, validate: Callable[[], Work]) -> HttpResponseBase:
        submission = Submission(self, request)
        try:
            answer = submission.respond(submission.store(validate))
        except Exception as error:
            # What this request has stored before stays: its receipt may be in the answer.
            refused = refusal(error, rolls_back=not submission.number)
            if refused is None:
                raise
            answer = refused
        dress(answer, request)
        return answer

    def perform_submit(self, operation: Operation) -> None:
        """A hook inside the transaction that inserts the operation: write what belongs to it.

        Called again where that transaction failed for what others did at the same time.
        """

    def get_extra(self, request: Request) -> Mapping[str, Any]:
        """What the project wants to keep with the operation; JSON values."""
        return {}

    def get_max_wait(self) -> int:
        """Seconds that a client may wish to wait at most; 0: waiting is off."""
        seconds: int = conf.get("MAX_WAIT") if self.max_wait is None else self.max_wait
        return seconds

    def get_idempotency_scope(self) -> str:
        """The name of this view: the same key means another request elsewhere."""
        action = getattr(self, "action", None)
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return f"{name}.{action}" if action else name

    def get_accepted_headers(self, operation: Operation) -> Mapping[str, str]:
        """Further headers for the 202."""
        return {}

    def get_idempotency_key(self, request: Request) -> IdempotencyKey | None:
        """The request's key, bound to its caller, this view and what was sent."""
        return idempotency_key(
            request, scope=self.get_idempotency_scope(), required=self.idempotency_key_required
        )


class LongRunningOperationView(LongRunningOperationMixin, ProblemsMixin, GenericAPIView[Any]):
    """POST validates by `serializer_class` and submits to `task`; the answer is 202.

    Where the project has set no authentication or permissions on the view, or on a class that the
    view inherits from, those of its OperationAccess hold.
    """

    task: ClassVar[OperationTask[..., Any]]
    #: Documents the result; nothing is validated by it.
    result_serializer_class: ClassVar[type[BaseSerializer[Any]] | None] = None

    def get_authenticators(self) -> list[BaseAuthentication]:
        if is_said(self, "authentication_classes", "get_authenticators"):
            return super().get_authenticators()
        return permissions.access(self.request).get_authenticators()

    def get_permissions(self) -> Any:
        if is_said(self, "permission_classes", "get_permissions"):
            return super().get_permissions()
        return permissions.access(self.request).get_permissions()

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """POST runs outside of ATOMIC_REQUESTS, every other method as the project says."""
        if request.method == "POST":
            return super().dispatch(request, *args, **kwargs)
        with atomic_requests():
            return super().dispatch(request, *args, **kwargs)

    def get_exception_handler(self) -> Any:
        if is_said(self, "get_exception_handler"):
            return super(ProblemsMixin, self).get_exception_handler()
        return super().get_exception_handler()

    def post(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not hasattr(self, "task"):
            raise ImproperlyConfigured(f"Set {type(self).__name__}.task to an @operation_task.")

        def validate() -> Work:
            serializer = self.get_serializer(data=request.data)
            serializer.is_valid(raise_exception=True)
            values = self.get_input(serializer)
            chosen = bodies.undeclared(serializer) & values.keys() - self.kwargs.keys()
            unknown = sorted(name for name in chosen if not self.task.kind.takes(name))
            if unknown:
                raise drf.ValidationError({name: [UNKNOWN_FIELD] for name in unknown})
            return self.task, values

        return self._submit(request, validate)

    def get_input(self, serializer: BaseSerializer[Any]) -> dict[str, Any]:
        """The job's input: the validated data, a list under `items`, and the URL's kwargs.

        The API's version and a suffix of the format are none of the job's business.
        """
        data = bodies.plain(serializer.validated_data, serializer)
        values: dict[str, Any] = data if isinstance(data, dict) else {"items": data}
        scheme = self.request.versioning_scheme
        version = scheme.version_param if isinstance(scheme, URLPathVersioning) else None
        left_out = {version, self.settings.FORMAT_SUFFIX_KWARG}
        return {**values, **{name: self.kwargs[name] for name in self.kwargs.keys() - left_out}}
