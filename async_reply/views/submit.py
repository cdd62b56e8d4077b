"""The submit view that a project subclasses, and the mixin that adds `submit` to any view."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

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

from async_reply import conf, permissions, tokens
from async_reply.models import Operation
from async_reply.protocol import headers
from async_reply.responses import refusal
from async_reply.services.idempotency import IdempotencyKey
from async_reply.tasks import OperationTask
from async_reply.views import bodies, callbacks
from async_reply.views.base import (
    ProblemsMixin,
    add_common_headers,
    atomic_requests,
    is_said,
    open_blocks,
)
from async_reply.views.submissions import Submission, Work, idempotency_key

UNKNOWN_FIELD = _("This field is not known: leave it out.")


class LongRunningOperationMixin(APIView):
    """Adds the method `submit` to a view of REST framework, and changes nothing else.

    `submit` stores an operation and returns the answer: a 202 with the receipt as JSON, Location,
    Operation-Location, Operation-Id, Link and Retry-After in seconds (RFC 9110, section 15.3.3).
    Authentication, permissions, throttles, transactions and the form of errors stay those of the
    view. A caller without an owner gets 401, unless the links are signed.
    """

    #: The URL in Location: "status", or "result" for clients that know no other URL.
    location_target: ClassVar[str] = "status"
    #: "owner": links need the submitter's credentials. "signed": links contain a valet key and
    #: need no credentials. Anonymous callers can submit to "signed" views only.
    location_access: ClassVar[str] = "owner"
    #: The scope of a valet key: "read", or "cancel", which includes "read".
    valet_key_scope: ClassVar[str] = "read"
    #: Header fields of the 202 that contain the monitor URL.
    operation_headers: ClassVar[Sequence[str]] = (headers.OPERATION_LOCATION,)
    #: The status URL's answer for a finished operation: 302 or 303. None: the setting
    #: REDIRECT_STATUS.
    redirect_status: ClassVar[int | None] = None
    #: The HTTP status of a result that is JSON.
    result_status: ClassVar[int] = 200
    #: Seconds that the result is kept; None: by the kind or the setting RETENTION.
    retention: ClassVar[int | None] = None
    #: Seconds that a client may wait for the result (`Prefer: wait`, RFC 7240, section 4.3).
    #: 0: waiting is off. None: the setting MAX_WAIT.
    max_wait: ClassVar[int | None] = None
    #: Seconds that a submit waits for the result although its client did not ask to, within
    #: `max_wait`. None: the setting DEFAULT_WAIT.
    default_wait: ClassVar[int | None] = None
    #: Whether a client may name a URL that is told of its operation, in the members `callback`
    #: and `callback_events` of its body: True, or "document" for messages that hold the whole
    #: document. Needs the app `async_reply.contrib.webhooks`.
    webhook: ClassVar[bool | Literal["document"]] = False
    #: Whether a request without an Idempotency-Key is refused with 400.
    idempotency_key_required: ClassVar[bool] = False

    def submit(
        self,
        request: Request,
        task: OperationTask[..., Any],
        input: Mapping[str, Any],
    ) -> HttpResponseBase:
        """Store an operation of `task` with this `input` and return the answer.

        The answer is the 202 with the receipt, or the result if the client waits for it
        (`Prefer: wait`). A request with a known idempotency key gets the receipt of its first
        operation. Our own errors and a database that is away become a problem document (RFC
        9457). Raises NotAuthenticated for a caller without an owner, other exceptions of REST
        framework, and TypeError for an input that the task does not take. In a transaction of the
        view the operation is stored with it, and a worker gets it after the commit.
        """
        return self._submit(request, lambda: (task, input))

    def _submit(self, request: Request, validate: Callable[[], Work]) -> HttpResponseBase:
        bodies.check_length(request)
        submission = Submission(self, request)
        try:
            answer = submission.respond(submission.store(validate))
        except Exception as error:
            # Earlier operations of this request stay stored. Their receipts may be in the answer.
            is_atomic = open_blocks() > getattr(self, "_outer_blocks", 0)
            problem = refusal(error, rolls_back=is_atomic and not submission.earlier_submits)
            if problem is None:
                raise
            answer = problem
        add_common_headers(answer, request)
        return answer

    def perform_submit(self, operation: Operation) -> None:
        """Write the project's rows for the operation, in the transaction that inserts it.

        A hook that does nothing by default. When the transaction conflicts with another one and is
        repeated, the hook is called again.
        """

    def get_extra(self, request: Request) -> Mapping[str, Any]:
        """JSON values that are stored with the operation for the project's own use."""
        return {}

    def get_max_wait(self) -> int:
        """The most seconds that a client may wait; 0: waiting is off."""
        seconds: int = conf.get("MAX_WAIT") if self.max_wait is None else self.max_wait
        return seconds

    def get_idempotency_scope(self) -> str:
        """The name within which an idempotency key counts: the view's path, and its action."""
        action = getattr(self, "action", None)
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return f"{name}.{action}" if action else name

    def get_accepted_headers(self, operation: Operation) -> Mapping[str, str]:
        """Further header fields for the 202."""
        return {}

    def get_idempotency_key(self, request: Request) -> IdempotencyKey | None:
        """The request's key with its caller, scope and body; None without one.

        Raises KeyMissing, KeyMalformed, and ParseError for a caller without an owner.
        """
        return idempotency_key(
            request, scope=self.get_idempotency_scope(), required=self.idempotency_key_required
        )


class LongRunningOperationView(LongRunningOperationMixin, ProblemsMixin, GenericAPIView[Any]):
    """POST validates the body by `serializer_class` and submits it to `task`. The answer is 202.

    An invalid body is 400 with `errors`; every error is a problem document (RFC 9457). Fields that
    the serializer does not declare are left out, as REST framework does; those that a serializer
    keeps and the task does not take are a 400, too. OperationAccess decides about authentication
    and permissions, unless the project sets its own on the view or on a class that the view
    inherits from. POST runs outside of ATOMIC_REQUESTS.
    """

    task: ClassVar[OperationTask[..., Any]]
    #: Describes the result in the OpenAPI schema, and validates nothing.
    result_serializer_class: ClassVar[type[BaseSerializer[Any]] | None] = None

    def get_authenticators(self) -> list[BaseAuthentication]:
        if is_said(self, "authentication_classes", "get_authenticators"):
            return [tokens.quicken(each) for each in super().get_authenticators()]
        return permissions.access(self.request).get_authenticators()

    def get_permissions(self) -> Any:
        if is_said(self, "permission_classes", "get_permissions"):
            return super().get_permissions()
        return permissions.access(self.request).get_permissions()

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Runs POST outside of ATOMIC_REQUESTS, and every other method as the project says."""
        self._outer_blocks = open_blocks()
        if request.method == "POST":
            return super().dispatch(request, *args, **kwargs)
        self._is_atomic = True
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
            data = callbacks.without(request.data) if self.webhook else request.data
            serializer = self.get_serializer(data=data)
            serializer.is_valid(raise_exception=True)
            values = self.get_input(serializer)
            undeclared = bodies.undeclared(serializer) & values.keys() - self.kwargs.keys()
            unknown = sorted(name for name in undeclared if not self.task.kind.takes(name))
            if unknown:
                raise drf.ValidationError({name: [UNKNOWN_FIELD] for name in unknown})
            return self.task, values

        return self._submit(request, validate)

    def get_input(self, serializer: BaseSerializer[Any]) -> dict[str, Any]:
        """The job's input: the validated data and the URL's kwargs; a list becomes `items`.

        The API's version and a format suffix are left out.
        """
        data = bodies.plain(serializer.validated_data, serializer)
        values: dict[str, Any] = data if isinstance(data, dict) else {"items": data}
        scheme = self.request.versioning_scheme
        version = scheme.version_param if isinstance(scheme, URLPathVersioning) else None
        names = self.kwargs.keys() - {version, self.settings.FORMAT_SUFFIX_KWARG}
        return {**values, **{name: self.kwargs[name] for name in names}}
