"""Shows what a job asks on the operation's page, with a form for those who may answer."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext_lazy
from rest_framework.exceptions import ValidationError

from async_reply import services
from async_reply.admin.commands import ANSWER_PERMISSION, Command
from async_reply.admin.steps import StepReruns
from async_reply.exceptions import AlreadyFinished, NotAsked
from async_reply.models import Operation, OperationStep
from async_reply.protocol import schemas
from async_reply.services import answers
from async_reply.views import forms

NOT_OPEN = gettext_noop("It was answered already, or nobody waits for an answer any more.")


@dataclass(frozen=True)
class Question:
    """An open question as the page shows it."""

    step: OperationStep
    #: The docstring of the serializer.
    text: str = ""
    #: Whether the task still declares the question.
    is_declared: bool = True
    #: The URL that the form posts to; '' for a user who may not answer.
    url: str = ""
    controls: list[forms.Control] = field(default_factory=list)
    has_errors: bool = False
    other_errors: list[str] = field(default_factory=list)


class QuestionAnswers(StepReruns):
    """The open question on an operation's page, and the view behind its form."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.answer_view)
        route = path("<uuid:pk>/answer/<str:name>/", view, name="async_reply_operation_answer")
        return [route, *super().get_urls()]

    def answer_view(self, request: HttpRequest, pk: UUID, name: str) -> HttpResponse:
        """Stores an answer. One that is not valid is shown again, with its errors."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            return self.run_on_shown(request, pk, command_for(request, name))
        except ValidationError as error:
            return self._ask_again(request, pk, error.detail)

    def question_panel(
        self, request: HttpRequest, operation: Operation, *, data: Any = None, errors: Any = None
    ) -> Question | None:
        """The open question, with the form for those who may answer; None if nothing is asked."""
        step = answers.open_question(operation)
        if step is None:
            return None
        cls = answers.serializer_class(operation, step.name)
        if cls is None:
            return Question(step, is_declared=False)
        serializer = cls(context={"request": request, "view": self})
        question = Question(step, schemas.description(serializer))
        if not self.has_command_permission(request, command_for(request, step.name)):
            return question
        return replace(
            question,
            url=self.url_of("answer", operation.pk, step.name),
            controls=forms.controls(serializer, data or {}, errors),
            has_errors=bool(errors),
            other_errors=forms.other_errors(serializer, errors),
        )

    def _ask_again(self, request: HttpRequest, pk: UUID, errors: Any) -> HttpResponse:
        """The form with the answer that this user has sent, and its errors."""
        operation = self.get_object(request, str(pk))
        question = operation and self.question_panel(
            request, operation, data=request.POST, errors=errors
        )
        if question is None:
            self.message_user(request, _(NOT_OPEN), messages.WARNING)
            return HttpResponseRedirect(self.page_url(pk))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Please answer"),
            "subtitle": None,
            "opts": self.opts,
            "target": str(operation),
            "back": self.page_url(pk),
            "question": question,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "async_reply/admin/answer.html", context)


def command_for(request: HttpRequest, name: str) -> Command:
    """The command by which this user answers the question `name`."""
    return Command(
        name="answer",
        label=_("Answer %s") % name,
        permission=ANSWER_PERMISSION,
        perform=partial(_answer, name=name, request=request),
        is_offered=lambda operation: bool(operation.pause),
        done_message=ngettext_lazy(
            "The answer is stored, and %d operation goes on.",
            "The answers are stored, and %d operations go on.",
        ),
    )


def _answer(operation: Operation, *, name: str, request: HttpRequest) -> OperationStep:
    """Answer as this member of staff; raises NotAsked in the language of the page."""
    by, context = f"staff-{request.user.pk}", {"request": request}
    try:
        return services.answer(operation, name, request.POST, by=by, context=context)
    except (AlreadyFinished, NotAsked) as error:
        raise NotAsked(_(NOT_OPEN)) from error
