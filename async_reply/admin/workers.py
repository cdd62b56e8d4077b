"""The admin of workers: which ones live, and which queues they read."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from async_reply.admin.moments import moment
from async_reply.admin.readonly import ReadOnlyAdmin
from async_reply.database.clock import DatabaseNow
from async_reply.models import Worker
from async_reply.publishing import queues
from async_reply.publishing.queues import SEEN_WITHIN

SEEN_AT = moment(Worker, "seen_at")


class WorkerAdmin(ReadOnlyAdmin):
    list_display = ("name", "pid", "alive", SEEN_AT, "concurrency", "queues")
    ordering = ("-seen_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        lately = Q(seen_at__gte=DatabaseNow() - SEEN_WITHIN)
        alive = ExpressionWrapper(lately, output_field=BooleanField())
        queryset: QuerySet[Any] = super().get_queryset(request).annotate(is_alive=alive)
        return queryset

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        for queue in queues.unserved():
            text = _("Operations wait in queue %(queue)s, which no worker reads.")
            self.message_user(request, text % {"queue": queue}, messages.WARNING)
        return super().changelist_view(request, extra_context)

    @admin.display(description=_("alive"), boolean=True)
    def alive(self, worker: Any) -> bool:
        """As estimates for clients and warnings of unserved queues see it."""
        return bool(worker.is_alive)
