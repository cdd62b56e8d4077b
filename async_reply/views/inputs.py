"""The view of what a job asks: shows the question, and takes the answer.

A valet key for the question opens this view and nothing else, as a link in an e-mail. A GET never
answers, since mail servers follow links. No cookie gives a request with a key its rights, so
another site cannot send one in the name of a user (CSRF).
"""

from typing import Any

from django.http.response import HttpResponseBase
from django.utils import translation
from rest_framework.parsers import BaseParser, FormParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from async_reply import documents, permissions, services
from async_reply.exceptions import NotAsked
from async_reply.models import Operation, OperationStep
from async_reply.protocol import links, valet_keys
from async_reply.services import answers
from async_reply.views import bodies, pages
from async_reply.views.access import SingleOperationMixin, not_found


class InputView(SingleOperationMixin):
    """GET: the question, as JSON or as a page with a form. POST: the answer."""

    polls = False

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with translation.override(pages.language(request)):
            return super().dispatch(request, *args, **kwargs)

    def get_renderers(self) -> list[BaseRenderer]:
        """The project's, with our page instead of pages that show a whole API."""
        renderers = [each for each in super().get_renderers() if each.media_type != "text/html"]
        # OPTIONS describes the view, and has no question that a page could show.
        return renderers if self.request.method == "OPTIONS" else [*renderers, pages.QuestionPage()]

    def get_parsers(self) -> list[BaseParser]:
        parsers = super().get_parsers()
        takes_forms = any(isinstance(parser, FormParser) for parser in parsers)
        return parsers if takes_forms else [*parsers, FormParser()]

    def perform_authentication(self, request: Request) -> None:
        """Refuse keys that are no valid key of a question. `get_question` compares the number."""
        if self.valet_key is None:
            super().perform_authentication(request)
            return
        scope = valet_keys.scope(self.valet_key)
        is_of_input = valet_keys.INPUT.fullmatch(scope) is not None
        if not is_of_input or not valet_keys.allows(self.valet_key, self.get_pk(), wanted=scope):
            raise not_found()

    def get_question(self, operation: Operation) -> OperationStep:
        """The question, open or answered; 404 for a name that does not exist, else 409."""
        name = self.kwargs["name"]
        row = answers.question(operation, name)
        if row is None and answers.serializer_class(operation, name) is None:
            raise not_found()
        if self.valet_key is not None:
            scope = valet_keys.scope(self.valet_key)
            if row is None or scope != valet_keys.input_scope(row.attempt):
                raise not_found()
        return answers.check(operation, name)

    def get(self, request: Request, id: str, name: str, **kwargs: Any) -> Response:
        operation = self.get_object()
        question = self.get_question(operation)
        if not question.is_open:
            raise NotAsked(f"The question {name!r} is answered.")
        url = links.make_input(name, operation.pk, request, key=self.valet_key or "")
        return Response(documents.describe_question(operation, question, url))

    def post(self, request: Request, id: str, name: str, **kwargs: Any) -> Response:
        operation = self.get_object()
        self.get_question(operation)
        if self.valet_key is None:
            by = permissions.owner(request)
        else:
            by = valet_keys.scope(self.valet_key)
        context = {"request": request, "view": self}
        bodies.check_length(request)
        with bodies.types_of(request):
            services.answer(operation, name, request.data, by=by, context=context)
        return Response({"id": str(operation.pk), "name": name, "status": "answered"})

    # REST framework calls a `get_serializer` for OPTIONS, and takes no None.
    def make_form(self) -> Any:
        """The serializer of the answer, for the page; None for an unknown name or id."""
        operation = Operation.objects.filter(pk=self.get_pk()).first()
        cls = (
            None if operation is None else answers.serializer_class(operation, self.kwargs["name"])
        )
        return None if cls is None else cls(context={"request": self.request, "view": self})

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        final = super().finalize_response(request, response, *args, **kwargs)
        if isinstance(getattr(final, "accepted_renderer", None), pages.QuestionPage):
            final["Content-Security-Policy"] = pages.CONTENT_SECURITY_POLICY
        return final
