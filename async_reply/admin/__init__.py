"""Shows operations, workers and statistics; whatever changes them goes through `services`."""

from django.contrib import admin

from async_reply.admin.operations import OperationAdmin
from async_reply.admin.readonly import KindStatisticsAdmin, WorkerAdmin
from async_reply.models import KindStatistics, Operation, Worker

__all__ = ["KindStatisticsAdmin", "OperationAdmin", "WorkerAdmin"]

admin.site.register(Operation, OperationAdmin)
admin.site.register(Worker, WorkerAdmin)
admin.site.register(KindStatistics, KindStatisticsAdmin)
