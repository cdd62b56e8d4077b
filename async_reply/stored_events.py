"""The table of the event log: what a job emits and logs, for the clients that read it."""

from typing import Any, TypedDict

from django.db import models
from django.utils.translation import gettext_lazy as _

from async_reply.database.clock import DatabaseNow
from async_reply.database.fields import ExactTextField
from async_reply.querysets import PrimaryManager

#: Names of events that the package writes itself. `data` of each:
#: log: {"level": "INFO", "text": "…"}; reset: {"after": 12}, the events after 12 are void;
#: truncated: {"after": 12, "through": 40}, these events were removed. It is in no row: a reader
#: sees it where numbers are missing.
LOG, RESET, TRUNCATED = "log", "reset", "truncated"


class Event(TypedDict, total=False):
    """One event in a row. `id` counts from 1 in each operation; `at` is the worker's time in UTC.

    `private` is there, and True, for lines that operators read and clients do not.
    """

    id: int
    event: str
    at: str
    data: Any
    private: bool


class OperationEvents(models.Model):
    """Some events of an attempt that followed one another and were written together."""

    operation = models.ForeignKey(
        "async_reply.Operation", models.CASCADE, db_index=False, related_name="stored_events"
    )
    # The numbers of its events. Some between them may be missing, since they were removed.
    first = models.PositiveIntegerField(_("first"))
    last = models.PositiveIntegerField(_("last"))
    attempt = models.PositiveIntegerField(_("attempt"))
    # JSON: a list of `Event`. A JSON column of PostgreSQL would sort the keys of their data.
    events = ExactTextField(_("events"))
    size = models.PositiveIntegerField(_("size in bytes"))
    # Of the lines of the log among them. These are removed when the log grows too long.
    log_size = models.PositiveIntegerField(_("size of log lines in bytes"), default=0)
    # A later attempt began before these events, and emits them anew.
    is_void = models.BooleanField(_("void"), default=False)
    written_at = models.DateTimeField(_("written at"), db_default=DatabaseNow())

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("operation events")
        verbose_name_plural = _("operation events")
        constraints = (
            models.UniqueConstraint(fields=["operation", "last"], name="async_reply_events_last"),
        )

    def __str__(self) -> str:
        return f"events {self.first} to {self.last} of {self.operation_id}"

    @classmethod
    def after(cls, operation: Any, number: int) -> "models.QuerySet[Any]":
        """The rows of `operation` with events after this number, in order."""
        rows = cls.objects.filter(operation_id=operation.pk, last__gt=number)
        return rows.order_by("last")
