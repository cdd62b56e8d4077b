"""Shows operations and workers; whatever changes operations goes through `services`."""

from django.contrib import admin

from async_reply.admin.operations import OperationAdmin
from async_reply.admin.workers import WorkerAdmin
from async_reply.models import Operation, Worker

__all__ = ["OperationAdmin", "WorkerAdmin"]

admin.site.register(Operation, OperationAdmin)
admin.site.register(Worker, WorkerAdmin)
