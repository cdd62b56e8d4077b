"""The base of our own views: problem documents, common headers, no transaction around them.

LongRunningOperationMixin uses none of this, so that a project's view stays as the project made it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
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


def add_common_headers(response: HttpResponseBase, request: Request) -> None:
    """Add the headers that each of our answers has: Vary, and those for pages of other origins."""
    patch_vary_headers(response, headers.VARY_ON)
    if headers.ORIGIN in request.headers:
        # The project's CORS middleware decides whether that origin may read the answer at all.
        response[headers.ACCESS_CONTROL_EXPOSE_HEADERS] = ", ".join(cors.EXPOSED)


@contextmanager
def atomic_requests() -> Iterator[None]:
    """The transactions that Django opens around a view on databases with ATOMIC_REQUESTS."""
    with ExitStack() as transactions:
        for connection in connections.all():
            if connection.settings_dict["ATOMIC_REQUESTS"]:
                transactions.enter_context(transaction.atomic(using=connection.alias))
        yield


def open_blocks() -> int:
    """The number of `atomic` blocks that are open now, on all connections."""
    return sum(len(each.atomic_blocks) for each in connections.all(initialized_only=True))


@contextmanager
def keep_transactions() -> Iterator[None]:
    """Inside, no transaction that is open now is marked for rollback.

    REST framework marks each for an error, as those of ATOMIC_REQUESTS. A view outside of these has
    no transaction of its own: an open one is its caller's, such as that of a TestCase.
    """
    opened = [
        connection
        for connection in connections.all(initialized_only=True)
        if connection.in_atomic_block and not connection.needs_rollback
    ]
    try:
        yield
    finally:
        for connection in opened:
            connection.set_rollback(False)


class ProblemsMixin(APIView):
    """Answers errors by problem documents, adds our headers, and runs outside of a transaction."""

    #: `exception_handler` reads it: a handler of the project's may call it for any view.
    _answers_problems: ClassVar[bool] = True
    #: Whether the handler runs inside of `atomic_requests`.
    _is_atomic: bool = False
    #: The number of `atomic` blocks around this view, which are its caller's.
    _outer_blocks: int = 0

    @classmethod
    def as_view(cls, *args: Any, **initkwargs: Any) -> Any:
        """A view outside of ATOMIC_REQUESTS: the view waits for commits and has to see them."""
        view = super().as_view(*args, **initkwargs)
        for alias in connections:
            view = transaction.non_atomic_requests(using=alias)(view)
        return view

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return exception_handler

    def handle_exception(self, exc: Exception) -> Response:
        with nullcontext() if self._is_atomic else keep_transactions():
            return super().handle_exception(exc)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Takes any response of Django's, not only those of REST framework."""
        final: HttpResponseBase = super().finalize_response(request, response, *args, **kwargs)
        handlers = "get_exception_handler", "handle_exception"
        if isinstance(final, Response) and final.exception and not is_said(self, *handlers):
            render_as_problem(final)
        add_common_headers(final, request)
        return final
