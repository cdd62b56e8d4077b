"""What our own views have in common: the submit view, and the views of operations.

LongRunningOperationMixin takes nothing from here: a project's view stays the project's.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

from django.db import connections, transaction
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from async_reply import cors, inheritance
from async_reply.protocol import headers
from async_reply.responses import exception_handler, render_as_problem


def is_said(view: Any, *names: str) -> bool:
    """Whether the project has set one of `names` on this view or on a class it inherits from.

    `as_view(…)` and `@action(…)` set attributes of the instance.
    """
    return inheritance.is_set_by_project(type(view), *names) or any(
        name in vars(view) for name in names
    )


def dress(response: HttpResponseBase, request: Request) -> None:
    """Add the headers that each of our answers carries."""
    patch_vary_headers(response, headers.VARY)
    if "Origin" in request.headers:
        # Whether that origin may read anything is for the project's CORS middleware to say.
        response["Access-Control-Expose-Headers"] = ", ".join(cors.EXPOSED)


@contextmanager
def atomic_requests() -> Iterator[None]:
    """The transactions that Django opens around a view of a project with ATOMIC_REQUESTS."""
    with ExitStack() as transactions:
        for connection in connections.all():
            if connection.settings_dict["ATOMIC_REQUESTS"]:
                transactions.enter_context(transaction.atomic(using=connection.alias))
        yield


class ProblemsMixin(APIView):
    """Errors as problem documents, the common headers, and no transaction around the view."""

    #: For the exception handler, which does not know views.
    answers_problems: ClassVar[bool] = True

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
        is_ours = not is_said(self, "get_exception_handler", "handle_exception")
        if is_ours and isinstance(final, Response) and final.exception:
            render_as_problem(final)
        dress(final, request)
        return final
