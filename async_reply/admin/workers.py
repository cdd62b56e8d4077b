"""Shows operators which workers are alive, and which queues they read."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from async_reply.admin.moments import moment_column
from async_reply.admin.readonly import ReadOnlyAdmin
from async_reply.database.clock import DatabaseNow
from async_reply.models import Worker
from async_reply.publishing import queues
from async_reply.publishing.queues import SEEN_WITHIN

SEEN_AT = moment_column(Worker, "seen_at")


class WorkerAdmin(ReadOnlyAdmin):
    """The list of workers, with a warning for each queue that has operations and no worker."""

    list_display = ("name", "pid", "alive", SEEN_AT, "concurrency", "queues")
    ordering = ("-seen_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        seen_lately = Q(seen_at__gte=DatabaseNow() - SEEN_WITHIN)
        is_alive = ExpressionWrapper(seen_lately, output_field=BooleanField())
        queryset: QuerySet[Any] = super().get_queryset(request).annotate(is_alive=is_alive)
        return queryset

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        for queue in queues.unserved():
            text = _("Operations wait in queue %(queue)s, which no worker reads.")
            self.message_user(request, text % {"queue": queue}, messages.WARNING)
        return super().changelist_view(request, extra_context)

    @admin.display(description=_("alive"), boolean=True)
    def alive(self, worker: Any) -> bool:
        """Whether the worker was seen lately, by the rule that estimates for clients use."""
        return bool(worker.is_alive)
