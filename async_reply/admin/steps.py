"""Shows the steps of an operation on its page, with a button that reruns from one of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db.models.functions import Length, Substr
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from async_reply import services
from async_reply.admin.actions import OperationActions
from async_reply.admin.commands import ANSWER_PERMISSION, RERUN, Command
from async_reply.estimates import wording
from async_reply.models import Operation, OperationFile, OperationStep
from async_reply.status import Status

#: The number of steps that a page shows, the last ones.
MAX_STEPS = 50
#: The name of the checkbox that keeps the answers of questions.
KEEP_ANSWERS = "keep_answers"
#: The number of characters of a value that a page shows.
MAX_CHARACTERS = 500


@dataclass(frozen=True)
class Row:
    """A step as the page shows it."""

    step: OperationStep
    #: What became of a sleep or of a question; '' for another step.
    note: str
    took: str
    #: '' for a user who may not see it, and for a file.
    value: str
    is_truncated: bool
    #: '' for a user who may not see it, and for a value.
    file_url: str
    #: Where to post to rerun from this step; '' if that is not offered.
    rerun_url: str


def command_from(ordinal: int, *, keep_answers: bool, offers_answers: bool) -> Command:
    """The command that reruns an operation from the step with this number."""
    label = _("Rerun from step %d with its answers") if keep_answers else _("Rerun from step %d")
    option = (KEEP_ANSWERS, _("Keep the answers that were given, and ask nobody again."))
    return replace(
        RERUN,
        label=label % ordinal,
        perform=partial(services.rerun, from_step=ordinal, keep_answers=keep_answers),
        option=option if offers_answers else None,
        warning=_(
            "A new operation gets copies of the steps before this one, with their values and "
            "files. This step and all after it run once more. So does all code outside of steps."
        ),
    )


class StepReruns(OperationActions):
    """The steps on an operation's page, and the view behind their buttons."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.rerun_from_view)
        name = "async_reply_operation_rerun_from"
        return [path("<uuid:pk>/rerun-from/<int:ordinal>/", view, name=name), *super().get_urls()]

    def rerun_from_view(self, request: HttpRequest, pk: UUID, ordinal: int) -> HttpResponse:
        """Answers the button of a step. Only POST is allowed."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        may_keep = request.user.has_perm(f"{self.opts.app_label}.{ANSWER_PERMISSION}")
        keep_answers = KEEP_ANSWERS in request.POST
        if keep_answers and not may_keep:
            raise PermissionDenied
        questions = OperationStep.objects.filter(operation=pk, sort=OperationStep.Sort.QUESTION)
        answered = questions.filter(ordinal__lt=ordinal).exclude(value="")
        offers_answers = may_keep and answered.exists()
        command = command_from(ordinal, keep_answers=keep_answers, offers_answers=offers_answers)
        return self.run_on_shown(request, pk, command)

    def steps_panel(
        self,
        request: HttpRequest,
        operation: Operation,
        *,
        with_payload: bool,
        link: Callable[[OperationFile], str],
    ) -> SafeString | str:
        """The last steps, with their values if allowed; '' for an operation without steps."""
        if not operation.steps:
            return ""
        may_rerun = RERUN.is_offered(operation) and self.has_command_permission(request, RERUN)

        def rerun_url(ordinal: int) -> str:
            return self.url_of("rerun_from", operation.pk, ordinal) if may_rerun else ""

        rows = [
            _row(step, rerun_url(step.ordinal), link if with_payload else None)
            for step in _last_steps(operation, with_payload=with_payload)
        ]
        is_unfinished = operation.status != Status.SUCCEEDED
        context = {
            "rows": rows,
            "shows_payload": with_payload,
            "has_more": operation.steps > MAX_STEPS,
            "max_steps": MAX_STEPS,
            "max_characters": MAX_CHARACTERS,
            "behind_url": rerun_url(operation.steps + 1) if is_unfinished else "",
        }
        return render_to_string("async_reply/admin/steps.html", context)


def _last_steps(operation: Operation, *, with_payload: bool) -> list[Any]:
    """The last steps in their order, with the beginnings of their values if allowed."""
    steps = OperationStep.of(operation).select_related("file").defer("value").reverse()
    if with_payload:
        steps = steps.annotate(head=Substr("value", 1, MAX_CHARACTERS), length=Length("value"))
    return list(steps[:MAX_STEPS])[::-1]


def _row(step: Any, rerun_url: str, link: Callable[[OperationFile], str] | None) -> Row:
    has_file = link is not None and step.file is not None
    return Row(
        step,
        note=_note(step),
        took=wording.duration(step.seconds),
        value=step.head if link is not None and not has_file else "",
        is_truncated=link is not None and step.length > MAX_CHARACTERS,
        file_url=link(step.file) if link is not None and has_file else "",
        rerun_url=rerun_url,
    )


def _note(step: OperationStep) -> str:
    """Says of a sleep or a question what it is, and what became of it."""
    if step.sort == OperationStep.Sort.STEP:
        return ""
    until = "" if step.until is None else wording.moment(step.until)
    if step.sort == OperationStep.Sort.SLEEP:
        return _("sleep until %s") % until
    if step.exception:
        return _("question, which nobody answered until %s") % until
    if step.answered_by:
        return _("question, answered by %s") % step.answered_by
    return _("question")
