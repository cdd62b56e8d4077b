"""Offers the commands to operators: as actions of the list, as buttons of an operation's page."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from async_reply.admin import reruns
from async_reply.admin.commands import CANCEL, COMMANDS, DELETE, RERUN, Command, Summary, run
from async_reply.admin.readonly import ReadOnlyAdmin
from async_reply.models import Operation


class OperationActions(ReadOnlyAdmin):
    """Gives a command to the selected operations, or to the one shown, and reports the outcome."""

    actions = ("cancel_operations", "rerun_operations", "delete_operations")

    @admin.action(
        description=gettext_lazy("Cancel the selected operations"), permissions=["cancel"]
    )
    def cancel_operations(self, request: HttpRequest, _queryset: QuerySet[Any]) -> Any:
        return self._run_on_selected(request, CANCEL)

    @admin.action(description=gettext_lazy("Rerun the selected operations"), permissions=["rerun"])
    def rerun_operations(self, request: HttpRequest, _queryset: QuerySet[Any]) -> Any:
        return self._run_on_selected(request, RERUN)

    # The permission is not "delete": has_delete_permission is False, to turn Django's delete off.
    @admin.action(
        description=gettext_lazy("Delete the selected operations"), permissions=["delete_operation"]
    )
    def delete_operations(self, request: HttpRequest, _queryset: QuerySet[Any]) -> Any:
        return self._run_on_selected(request, DELETE)

    def has_command_permission(self, request: HttpRequest, command: Command) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.{command.permission}")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self.has_command_permission(request, CANCEL)

    def has_rerun_permission(self, request: HttpRequest) -> bool:
        return self.has_command_permission(request, RERUN)

    def has_delete_operation_permission(self, request: HttpRequest) -> bool:
        return self.has_command_permission(request, DELETE)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        # The list stops counting at a cap, so the page cannot say how many operations "all" are.
        if request.POST.get("select_across", "0") not in ("", "0"):
            text = _("Nothing was done: an action works on the operations selected on one page.")
        elif any(_as_id(value) is None for value in _selected(request)):
            text = _("Nothing was done: the selection contains an id that is malformed.")
        else:
            return super().response_action(request, queryset, *args, **kwargs)
        self.message_user(request, text, messages.ERROR)
        return None

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.action_view)
        route = path("<uuid:pk>/actions/<str:name>/", view, name="async_reply_operation_action")
        return [route, *super().get_urls()]

    def action_view(self, request: HttpRequest, pk: UUID, name: str) -> HttpResponse:
        """Answers a button of an operation's page. Only POST is allowed."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if name not in COMMANDS:
            raise Http404
        return self.run_on_shown(request, pk, COMMANDS[name])

    def run_on_shown(self, request: HttpRequest, pk: UUID, command: Command) -> HttpResponse:
        """Give the command to one operation, after a confirmation if it needs one."""
        if not (
            self.has_view_permission(request) and self.has_command_permission(request, command)
        ):
            raise PermissionDenied
        operation = self.get_object(request, str(pk))
        if operation is None:
            raise Http404
        if not self.has_view_permission(request, operation):
            raise PermissionDenied
        if command.warning and "confirmed" not in request.POST:
            return self._ask(
                request,
                command,
                back=self.page_url(pk),
                target=str(operation),
                consequence=command.consequence(operation),
            )
        summary = run(command, [operation], shown_at=reruns.shown_at(request))
        self._report(request, command, summary)
        returned = summary.done[0][1] if summary.done else None
        # A rerun returns the new operation: show it.
        new_pk = returned.pk if isinstance(returned, Operation) else pk
        return HttpResponseRedirect(self.page_url(new_pk))

    def page_url(self, pk: object) -> str:
        """The page of the operation with this id."""
        return self.url_of("change", pk)

    def url_of(self, name: str, *args: object) -> str:
        return reverse(
            f"admin:async_reply_operation_{name}", args=args, current_app=self.admin_site.name
        )

    def buttons(self, request: HttpRequest, operation: Operation) -> list[tuple[Command, str]]:
        """The commands that this user may give to the operation, each with the URL to post to."""
        return [
            (command, self.url_of("action", operation.pk, command.name))
            for command in COMMANDS.values()
            if command.is_offered(operation) and self.has_command_permission(request, command)
        ]

    def _run_on_selected(self, request: HttpRequest, command: Command) -> HttpResponse | None:
        """Give the command to the selected ids.

        The queryset of the action lacks rows that the filter of the list no longer shows.
        """
        ids = _selected(request)
        if command.warning and "confirmed" not in request.POST:
            target = ngettext("%d operation", "%d operations", len(ids)) % len(ids)
            hidden = [
                ("action", f"{command.name}_operations"),
                *((ACTION_CHECKBOX_NAME, pk) for pk in ids),
            ]
            return self._ask(
                request, command, back=request.get_full_path(), target=target, hidden=hidden
            )
        operations = (self._visible(request, pk) for pk in ids)
        summary = run(command, operations, shown_at=reruns.shown_at(request))
        self._report(request, command, summary)
        return None

    def _visible(self, request: HttpRequest, pk: str) -> Operation | None:
        """The operation, or None if this user does not see it: a project may judge each row."""
        operation = self.get_object(request, pk)
        is_seen = operation is not None and self.has_view_permission(request, operation)
        return operation if is_seen else None

    def _ask(
        self,
        request: HttpRequest,
        command: Command,
        *,
        back: str,
        target: str,
        hidden: list[tuple[str, str]] | None = None,
        consequence: str = "",
        action: str = "",
        note: str = "",
    ) -> HttpResponse:
        """The page that asks for confirmation; `hidden` fields are posted again with it.

        It posts to the URL `action`, by default to its own.
        """
        context = {
            **self.admin_site.each_context(request),
            "title": _("Are you sure?"),
            "subtitle": None,
            "opts": self.opts,
            "command": command,
            "target": target,
            "back": back,
            "consequence": consequence,
            "hidden": hidden or [],
            "action": action,
            "note": note,
            **reruns.context(),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "async_reply/admin/confirm.html", context)

    def _report(self, request: HttpRequest, command: Command, summary: Summary) -> None:
        """Show one message for the successes, and one for each reason of a refusal."""
        for operation, _returned in summary.done:
            self.log_change(request, operation, f"{command.label}.")
        if summary.done:
            text = command.done_message % len(summary.done)
            self.message_user(request, text, messages.SUCCESS)
        for reason, count in summary.refused.items():
            template = ngettext(
                "%(count)d operation was left as it is: %(reason)s",
                "%(count)d operations were left as they are: %(reason)s",
                count,
            )
            text = template % {"count": count, "reason": reason}
            self.message_user(request, text, messages.WARNING)


def _selected(request: HttpRequest) -> list[str]:
    """The selected ids without repetitions: an id that comes twice must not be rerun twice."""
    return list(dict.fromkeys(request.POST.getlist(ACTION_CHECKBOX_NAME)))


def _as_id(value: str) -> UUID | None:
    try:
        return UUID(value)
    except ValueError:
        return None
