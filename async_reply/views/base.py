"""What the submit view and the operations' views have in common."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.db import connections, transaction
from django.http import Http404
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from rest_framework import exceptions as drf
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from async_reply import cors, headers, problems
from async_reply.permissions import OperationAccess, access
from async_reply.responses import ProblemRenderer, exception_handler


class ProblemsMixin(APIView):
    """Errors as problem documents, the common headers, and no transaction around the view."""

    #: For the exception handler, which does not know views.
    answers_problems: ClassVar[bool] = True

    @property
    def access(self) -> OperationAccess:
        return access()

    @classmethod
    def as_view(cls, *args: Any, **initkwargs: Any) -> Any:
        """A view outside ATOMIC_REQUESTS: it must see, and wait for, what others commit."""
        view = super().as_view(*args, **initkwargs)
        for alias in connections:
            view = transaction.non_atomic_requests(using=alias)(view)
        return view

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return exception_handler

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Any response of Django's passes here, not only REST framework's."""
        final: HttpResponseBase = super().finalize_response(request, response, *args, **kwargs)
        if isinstance(final, Response) and final.exception and _is_machine(final.accepted_renderer):
            final.accepted_renderer = ProblemRenderer()
            final.accepted_media_type = problems.MEDIA_TYPE
        patch_vary_headers(final, headers.VARY)
        if "Origin" in request.headers:
            # Whether that origin may read anything is for the project's CORS middleware to say.
            final["Access-Control-Expose-Headers"] = ", ".join(cors.EXPOSED)
        return final


class LenientNegotiation(DefaultContentNegotiation):
    """The first renderer where none fits: a poller or an event stream never gets a 406.

    Nor a 404 for `?format=`, which would tell it that its operation is lost.
    """

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        try:
            chosen: tuple[BaseRenderer, str] = super().select_renderer(
                request, renderers, format_suffix
            )
        except (drf.NotAcceptable, Http404):
            return renderers[0], renderers[0].media_type
        return chosen


def _is_machine(renderer: BaseRenderer) -> bool:
    return renderer.format not in {"html", "api", "admin"}
