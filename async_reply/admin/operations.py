"""Shows operators the page and the files of each operation."""

from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from async_reply.admin import columns, event_log, panels, processes, reruns
from async_reply.admin.dashboard import Dashboard
from async_reply.admin.moments import EMPTY, moment_column
from async_reply.admin.questions import QuestionAnswers
from async_reply.estimates import reasons
from async_reply.exceptions import StorageFailed
from async_reply.files import store
from async_reply.logs import logger
from async_reply.models import Operation, OperationFile
from async_reply.status import ACTIVE

PAYLOAD_PERMISSION = "view_operation_payload"

MOMENTS = {
    name: moment_column(Operation, name)
    for name in (
        "created_at",
        "available_at",
        "started_at",
        "finished_at",
        "updated_at",
        "cancel_requested_at",
        "deadline_at",
        "give_up_at",
        "published_at",
        "lease_expires_at",
        "expires_at",
        "deleted_at",
        "purge_at",
    )
}
COLLAPSED = {"classes": ("collapse",)}

SUMMARY_FIELDS = (
    "id",
    "kind",
    "state",
    "message",
    "person",
    "lineage",
    "celery_result",
    "error_document",
)
TIME_FIELDS = (
    (MOMENTS["created_at"], MOMENTS["available_at"]),
    (MOMENTS["started_at"], MOMENTS["finished_at"]),
    (MOMENTS["updated_at"], MOMENTS["cancel_requested_at"]),
    (MOMENTS["expires_at"], MOMENTS["deleted_at"]),
    MOMENTS["purge_at"],
)
BUDGET_FIELDS = (
    ("attempt", "version"),
    ("retries", "max_retries"),
    ("losses", "max_losses"),
    ("total_retries", "total_losses"),
    ("time_limit", MOMENTS["deadline_at"]),
    ("earlier_seconds", MOMENTS["give_up_at"]),
    ("steps", "idle_releases"),
)
DELIVERY_FIELDS = (
    ("routed_queue", "priority"),
    (MOMENTS["published_at"], "publishes"),
    ("worker", MOMENTS["lease_expires_at"]),
)
REQUEST_FIELDS = ("view", "idempotency_digest", "traceparent", "reply_document")


class OperationAdmin(QuestionAnswers, Dashboard):
    """The pages of operations. A project subclasses it to show other columns."""

    change_form_template = "async_reply/admin/change_form.html"

    def has_payload_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.{PAYLOAD_PERMISSION}")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """All fields. The payload only if this user has the permission to see it."""
        payload: tuple[str, ...] = ("hidden_payload",)
        if self.has_payload_permission(request):
            payload = ("result_panel", "input_document", "file_table", "extra_document")
        summary: tuple[str, ...] = SUMMARY_FIELDS
        if not apps.is_installed("django_celery_results"):
            summary = tuple(name for name in SUMMARY_FIELDS if name != "celery_result")
        return [
            (None, {"fields": summary}),
            (_("Input and outcome"), {"fields": payload}),
            (_("Times"), {"fields": TIME_FIELDS}),
            (_("Budgets"), {"fields": BUDGET_FIELDS}),
            (_("Publishing and lease"), {"fields": DELIVERY_FIELDS, **COLLAPSED}),
            (_("Request"), {"fields": REQUEST_FIELDS, **COLLAPSED}),
        ]

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        operation = context["original"]
        self.describe_owners(request, [operation])
        commands = list(operation.process_commands.all()) if operation.commands else []
        with_payload = self.has_payload_permission(request)
        reason = reasons.why_pending(operation)
        context |= {
            "buttons": self.buttons(request, operation),
            "why_pending": "" if reason is None else reason.sentence,
            "why_process_stays": (
                processes.why_it_stays(operation) if operation.status in ACTIVE else ""
            ),
            "question": self.question_panel(request, operation),
            "timeline": panels.timeline(operation, commands=commands, with_payload=with_payload),
            "steps": self.steps_panel(
                request, operation, with_payload=with_payload, link=self._file_url
            ),
            "stack": panels.stack(operation, commands=commands) if with_payload else "",
            "event_log": event_log.panel(operation) if with_payload else "",
            "log": panels.log(operation),
            **reruns.context(),
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.file_view)
        route = path("<uuid:pk>/files/<int:file>/", view, name="async_reply_operation_file")
        return [route, *super().get_urls()]

    def file_view(self, request: HttpRequest, pk: UUID, file: int) -> HttpResponseBase:
        """Answers with a file as a download.

        The browser must not show the file on this site: a client may have uploaded a script. If
        the storage fails, the operator returns to the operation's page, which says so.
        """
        if not (self.has_view_permission(request) and self.has_payload_permission(request)):
            raise PermissionDenied
        row = OperationFile.objects.filter(pk=file, operation_id=pk).first()
        operation = self.get_object(request, str(pk))
        if row is None or operation is None:
            raise Http404
        if not self.has_view_permission(request, operation):
            raise PermissionDenied
        try:
            content = store.opened_for_reading(row)
        except StorageFailed:
            logger.exception(
                "Operation id=%s kind=%s: file=%s cannot be opened",
                pk,
                operation.kind,
                row.file.name,
            )
            text = _("The storage failed to open the file %(name)s: see the log.")
            self.message_user(request, text % {"name": row.name}, messages.ERROR)
            return HttpResponseRedirect(self.page_url(pk))
        return FileResponse(
            content,
            as_attachment=True,
            filename=row.name,
            content_type="application/octet-stream",
            headers={"X-Content-Type-Options": "nosniff"},
        )

    @admin.display(description=gettext_lazy("reruns"))
    def lineage(self, operation: Operation) -> str:
        """Links to the operation that this one repeats, and to its last ten reruns."""
        links = [(_("repeats"), operation.rerun_of_id)] if operation.rerun_of_id else []
        reruns = operation.reruns.order_by("-pk").values_list("pk", flat=True)
        links += [(_("repeated by"), pk) for pk in reruns[:10]]
        rows = ((word, self.page_url(pk), pk) for word, pk in links)
        return format_html_join("", '<div>{} <a href="{}">{}</a></div>', rows) or EMPTY

    @admin.display(description=gettext_lazy("queue"))
    def routed_queue(self, operation: Operation) -> str:
        """The queue of its messages, also if the row leaves that to Celery's routes."""
        return columns.queue(operation)

    @admin.display(description=gettext_lazy("Celery's result"))
    def celery_result(self, operation: Operation) -> str:
        result_pk = panels.celery_result(operation)
        if result_pk is None:
            return _("Celery's result backend has no result of this operation.")
        try:
            url = reverse(
                "admin:django_celery_results_taskresult_change",
                args=[result_pk],
                current_app=self.admin_site.name,
            )
        except NoReverseMatch:
            return str(result_pk)
        return format_html('<a href="{}">{}</a>', url, _("the row of Celery's result backend"))

    @admin.display(description=gettext_lazy("payload"))
    def hidden_payload(self, _operation: Operation) -> str:
        return _(
            "Input, result, files, events, and messages and tracebacks of exceptions are hidden. "
            "To see them, a user needs the permission %(name)s."
        ) % {"name": f"{self.opts.app_label}.{PAYLOAD_PERMISSION}"}

    @admin.display(description=gettext_lazy("error"))
    def error_document(self, operation: Operation) -> str:
        return panels.document(operation.error) if operation.error is not None else EMPTY

    @admin.display(description=gettext_lazy("input"))
    def input_document(self, operation: Operation) -> str:
        return panels.document(operation.input)

    @admin.display(description=gettext_lazy("extra"))
    def extra_document(self, operation: Operation) -> str:
        return panels.document(operation.extra)

    @admin.display(description=gettext_lazy("reply"))
    def reply_document(self, operation: Operation) -> str:
        return panels.document(operation.reply)

    @admin.display(description=gettext_lazy("result"))
    def result_panel(self, operation: Operation) -> str:
        return panels.result(operation, link=self._file_url) or EMPTY

    @admin.display(description=gettext_lazy("files"))
    def file_table(self, operation: Operation) -> str:
        return panels.files(operation, link=self._file_url) or EMPTY

    def _file_url(self, row: OperationFile) -> str:
        return self.url_of("file", row.operation_id, row.pk)
