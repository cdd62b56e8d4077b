"""Registers the pages of operations and workers with Django's admin.

The pages read the tables. Every change of an operation goes through `services`.
"""

from django.contrib import admin

from async_reply.admin.operations import OperationAdmin
from async_reply.admin.workers import WorkerAdmin
from async_reply.models import Operation, Worker

__all__ = ["OperationAdmin", "WorkerAdmin"]

admin.site.register(Operation, OperationAdmin)
admin.site.register(Worker, WorkerAdmin)
