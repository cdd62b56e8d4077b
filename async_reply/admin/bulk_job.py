"""The job that gives a command to all operations of a list: the kind `async_reply.bulk`.

It sees what its user sees: the rows by the list of the user's admin site, and no others. The admin
imports this module in workers too.
"""

from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.sites import all_sites
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext as _

from async_reply.admin import frozen
from async_reply.admin.commands import BULK_COMMANDS, RERUN, Command, Summary
from async_reply.admin.commands import run as run_command
from async_reply.attempts.jobs import Job
from async_reply.exceptions import OperationCanceled, OperationFailed
from async_reply.models import Operation
from async_reply.tasks import operation_task

#: Up to this number of operations, each gets an entry in the history of its page.
MAX_LOGGED = 1_000
BATCH_ROWS = 100
DAY_SECONDS = 24 * 3600


@operation_task(name="async_reply.bulk", time_limit=DAY_SECONDS)
def run(operation: Job, *, command: str, site: str, query: str, user: str) -> dict[str, Any]:
    """Give the command to the operations of the list with this query; returns the counts."""
    bulk = Bulk(operation, command=BULK_COMMANDS[command], site=site, query=query, user=user)
    return bulk.run()


class Bulk:
    """One run of the job."""

    def __init__(self, job: Job, *, command: Command, site: str, query: str, user: str) -> None:
        self.job = job
        self.command = command
        self.user_key = user
        self.model_admin = model_admin(site)
        self.request = HttpRequest()
        self.request.method = "GET"
        self.request.GET = QueryDict(query)
        self.row = Operation.objects.only("kind", "created_at", "rerun_of").get(pk=job.id)
        self.done = 0
        self.left: Counter[str] = Counter()

    def run(self) -> dict[str, Any]:
        if self.row.rerun_of_id is not None:
            # The job acts as its first user, who may be allowed more than the user who reruns it.
            raise OperationFailed("Give the command again, in the list of operations.")
        self.check_permission()
        operations = self.model_admin.get_whole_list(self.request).queryset.defer(None)
        total = operations.order_by().count()
        try:
            self.act_on_all(operations, total)
        except (OperationCanceled, OperationFailed):
            self.log_all(total)
            raise
        self.log_all(total)
        return {"done": self.done, "left": dict(self.left)}

    def act_on_all(self, operations: QuerySet[Any], total: int) -> None:
        for batch in batches(operations):
            self.check_permission()
            finished = self.rerun_before(batch)
            for operation in batch:
                if operation.pk in finished:
                    self.done += 1
                elif self.model_admin.has_view_permission(self.request, operation):
                    self.act_on(operation, logs=total <= MAX_LOGGED)
                seen = self.done + self.left.total()
                self.job.progress(seen, max(total, seen), self.message())

    def check_permission(self) -> None:
        """Read the user again: a permission may have been taken away in the meantime."""
        user: Any = get_user_model()._default_manager.filter(pk=self.user_key).first()  # noqa: SLF001
        self.request.user = user
        is_allowed = (
            user is not None
            and self.model_admin.admin_site.has_permission(self.request)
            and self.model_admin.has_view_permission(self.request)
            and self.model_admin.has_command_permission(self.request, self.command)
        )
        if not is_allowed:
            text = _("The user who asked for this may no longer do it.")
            text = f"{text} {self.message()}"
            raise OperationFailed(text, code="permission-denied", status_code=403)

    def rerun_before(self, batch: list[Operation]) -> set[UUID]:
        """Those that an earlier attempt of this job, which was lost, has rerun already."""
        if self.command is not RERUN or self.job.attempt == 1:
            return set()
        reruns = Operation.objects.filter(
            rerun_of__in=[operation.pk for operation in batch], created_at__gte=self.row.created_at
        )
        return set(reruns.values_list("rerun_of_id", flat=True))

    def act_on(self, operation: Operation, *, logs: bool) -> None:
        shown_at = frozen.moment_of(self.request)
        summary: Summary = run_command(self.command, [operation], shown_at=shown_at)
        self.done += len(summary.done)
        self.left += summary.refused
        if logs and summary.done:
            self.log(operation)

    def log_all(self, total: int) -> None:
        """One entry for all operations, if each of them has none."""
        if total > MAX_LOGGED and self.done:
            self.log(self.row)

    def log(self, operation: Operation) -> None:
        text = f"{self.command.label} (async_reply.bulk {self.job.id}). {self.message()}"
        user: Any = self.request.user
        LogEntry.objects.log_actions(user.pk, [operation], CHANGE, text, single_object=True)

    def message(self) -> str:
        values = {"done": self.done, "left": self.left.total()}
        return _("Done: %(done)d. Left as they are: %(left)d.") % values


def model_admin(site_name: str) -> Any:
    """The admin of operations on the site with this name; raises OperationFailed."""
    # A project's own site is made by modules that its URLs import.
    import_module(settings.ROOT_URLCONF)
    for site in all_sites:
        if site.name == site_name and site.is_registered(Operation):
            return site.get_model_admin(Operation)
    text = _("The worker does not know the admin site %(site)s.")
    raise OperationFailed(text % {"site": repr(site_name)})


def batches(operations: QuerySet[Any]) -> Iterator[list[Operation]]:
    """The rows, newest first. A row that leaves the filter in the meantime is left out."""
    rows = operations.order_by("-pk")
    batch = list(rows[:BATCH_ROWS])
    while batch:
        yield batch
        batch = list(rows.filter(pk__lt=batch[-1].pk)[:BATCH_ROWS])
