"""The tables. An operation's row holds its state, and says whether its message is to be sent."""

from typing import Any

from django.core.checks import CheckMessage
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils.translation import gettext_lazy as _

from async_reply.database.clock import DatabaseNow, seconds_until
from async_reply.database.fields import ExactCharField, ExactFileField, ExactTextField
from async_reply.database.identifiers import uuid7
from async_reply.monitoring import KindStatistics as KindStatistics
from async_reply.monitoring import Turn as Turn
from async_reply.monitoring import Worker as Worker
from async_reply.querysets import OperationManager, PrimaryManager
from async_reply.status import Status
from async_reply.storage import file_path, operation_storage
from async_reply.stored_events import OperationEvents as OperationEvents
from async_reply.stored_steps import OperationStep as OperationStep

#: The length of a subject of OpenID Connect.
OWNER_LENGTH = 255
#: The key of `Operation.reply` that holds the answer of `get_estimate_key`.
ESTIMATE_KEY = "estimate_key"


class Operation(models.Model):
    """One accepted request. Only `lifecycle` writes `status`."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = ExactCharField(_("kind"), max_length=200)
    status = ExactCharField(
        _("status"), max_length=10, choices=Status.choices, default=Status.PENDING
    )
    # Each change that a client can see adds one.
    version = models.PositiveIntegerField(_("version"), default=1)
    # The number of the last claim: only that attempt may write. It is no budget.
    attempt = models.PositiveIntegerField(_("attempt"), default=0)
    retries = models.PositiveIntegerField(_("retries"), default=0)
    max_retries = models.PositiveIntegerField(_("max. retries"), default=0)
    losses = models.PositiveIntegerField(_("losses"), default=0)
    max_losses = models.PositiveIntegerField(_("max. losses"), default=2)
    # All of them. The budgets above begin anew when its job stores a step.
    total_retries = models.PositiveIntegerField(_("retries in all"), default=0)
    total_losses = models.PositiveIntegerField(_("losses in all"), default=0)
    # Releases since its job last got further: since it stored a step, or did an item.
    idle_releases = models.PositiveIntegerField(_("idle releases"), default=0)
    # How many steps are stored. Most jobs have none, and need no statement to know it.
    steps = models.PositiveIntegerField(_("steps"), default=0)
    # The number of its last event, and of the last one that a later attempt does not emit anew.
    events = models.PositiveIntegerField(_("events"), default=0)
    kept_events = models.PositiveIntegerField(default=0, editable=False)
    # A pending job waits for this `OperationStep.Sort`; for a worker if it is ''.
    pause = ExactCharField(_("pause"), max_length=8, blank=True, default="")
    # JSON: the cursors of its job's loops, and `operation.state`.
    kept = ExactTextField(_("kept"), blank=True, default="", editable=False)
    time_limit = models.PositiveIntegerField(_("time limit in seconds"), default=3600)
    # Seconds that its earlier attempts took. An operation has none at its first attempt.
    earlier_seconds = models.FloatField(_("seconds of earlier attempts"), default=0)
    # Seconds that its result is kept. None: the setting counts when it finishes.
    retention = models.PositiveIntegerField(_("retention in seconds"), null=True, blank=True)
    owner = ExactCharField(_("owner"), max_length=OWNER_LENGTH, blank=True, default="")
    # The submitting view, and its options for the views that have only the row.
    view = ExactCharField(_("view"), max_length=200, blank=True, default="")
    reply = models.JSONField(_("reply"), default=dict, blank=True)
    progress = models.PositiveSmallIntegerField(_("progress in percent"), null=True, blank=True)
    message = ExactCharField(_("message"), max_length=255, blank=True, default="")
    error = models.JSONField(_("error"), null=True, blank=True)
    input = models.JSONField(_("input"), default=dict, blank=True, encoder=DjangoJSONEncoder)
    # The files that came with the request. Most jobs have none, and need no statement to know it.
    input_files = models.PositiveIntegerField(_("input files"), default=0)
    extra = models.JSONField(_("extra"), default=dict, blank=True, encoder=DjangoJSONEncoder)
    queue = ExactCharField(_("queue"), max_length=191, blank=True, default="")
    priority = models.SmallIntegerField(_("priority"), null=True, blank=True)
    worker = ExactCharField(_("worker"), max_length=255, blank=True, default="")

    created_at = models.DateTimeField(_("created at"), db_default=DatabaseNow(), editable=False)
    available_at = models.DateTimeField(_("available at"), db_default=DatabaseNow())
    published_at = models.DateTimeField(_("published at"), null=True, blank=True)
    # Guards of publishing compare this count: databases compare times with different precision.
    publishes = models.PositiveIntegerField(_("publishes"), default=0)
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    deadline_at = models.DateTimeField(_("deadline at"), null=True, blank=True)
    # By `total_time_limit`. No attempt goes on after it. None: there is no such limit, or it has
    # finished. The index then has unfinished operations only, on MariaDB too.
    give_up_at = models.DateTimeField(_("give up at"), null=True, blank=True)
    updated_at = models.DateTimeField(_("updated at"), db_default=DatabaseNow())
    lease_expires_at = models.DateTimeField(_("lease expires at"), null=True, blank=True)
    cancel_requested_at = models.DateTimeField(_("cancel requested at"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    purge_at = models.DateTimeField(_("purge at"), null=True, blank=True)
    deleted_at = models.DateTimeField(_("deleted at"), null=True, blank=True)

    idempotency_digest = ExactCharField(max_length=64, null=True, blank=True, editable=False)
    fingerprint = ExactCharField(max_length=64, blank=True, default="", editable=False)
    traceparent = ExactCharField(max_length=55, blank=True, default="", editable=False)
    # How many commands operators gave to its processes. A heartbeat sees that there is a new one.
    commands = models.PositiveIntegerField(default=0, editable=False)
    rerun_of = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, db_index=False, related_name="reruns"
    )

    objects = OperationManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("operation")
        verbose_name_plural = _("operations")
        permissions = (
            ("cancel_operation", "Can cancel operations"),
            ("rerun_operation", "Can rerun operations"),
            ("answer_operation", "Can answer the questions of operations"),
            ("end_operation_process", "Can end the processes of operations"),
            ("view_operation_payload", "Can view input, result and tracebacks of operations"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["idempotency_digest"], name="async_reply_op_idempotency"
            ),
        )
        # MariaDB drops the condition of a partial index: that one therefore begins with the
        # status. MariaDB would also merge two indexes and sort the rows: each filter of an owner's
        # list has an index of its own. No index has the lease: a heartbeat updates no index.
        indexes = (
            models.Index(
                fields=["status", "published_at", "available_at"],
                condition=models.Q(status=Status.PENDING),
                name="async_reply_op_due",
            ),
            models.Index(
                fields=["give_up_at"],
                condition=models.Q(give_up_at__isnull=False),
                name="async_reply_op_give_up",
            ),
            models.Index(fields=["status", "id"], name="async_reply_op_status"),
            models.Index(fields=["kind", "id"], name="async_reply_op_kind"),
            models.Index(fields=["kind", "finished_at"], name="async_reply_op_kind_finished"),
            models.Index(fields=["owner", "id"], name="async_reply_op_owner"),
            models.Index(fields=["owner", "status", "id"], name="async_reply_op_owner_status"),
            models.Index(fields=["owner", "kind", "id"], name="async_reply_op_owner_kind"),
            models.Index(fields=["purge_at"], name="async_reply_op_purge"),
            models.Index(fields=["rerun_of"], name="async_reply_op_rerun_of"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    @classmethod
    def check(cls, **kwargs: Any) -> list[CheckMessage]:
        """Drop W037: the index serves without its condition too."""
        return [message for message in super().check(**kwargs) if message.id != "models.W037"]

    @property
    def is_gone(self) -> bool:
        """Whether it was deleted or has expired. Its row may stay for a while."""
        expired = self.expires_at is not None and seconds_until(self.expires_at) <= 0
        return expired or self.deleted_at is not None

    @property
    def was_deleted(self) -> bool:
        """Whether a client deleted it before it expired."""
        deleted, end = self.deleted_at, self.expires_at
        return deleted is not None and end is not None and deleted < end


class OperationFile(models.Model):
    """A file of a request, a result or a step. Its bytes are in a Django storage."""

    class Role(models.TextChoices):
        INPUT = "input", _("input")
        RESULT = "result", _("result")
        STEP = "step", _("step")

    operation = models.ForeignKey(Operation, models.CASCADE, db_index=False, related_name="files")
    role = ExactCharField(_("role"), max_length=6, choices=Role.choices)
    # Its place in the input: a key, or keys and positions joined by dots.
    field = ExactCharField(_("field"), max_length=255, blank=True, default="")
    file = ExactFileField(_("file"), upload_to=file_path, storage=operation_storage, max_length=400)
    name = ExactCharField(_("name"), max_length=255)
    content_type = ExactCharField(_("content type"), max_length=255, blank=True, default="")
    size = models.PositiveBigIntegerField(_("size in bytes"))
    sha256 = ExactCharField("SHA-256", max_length=64)

    objects = PrimaryManager()

    #: The attempt that writes the file, 0 for an input. It is a part of the path, and no column.
    attempt = 0

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("operation file")
        verbose_name_plural = _("operation files")
        indexes = (models.Index(fields=["operation", "role"], name="async_reply_file_operation"),)

    def __str__(self) -> str:
        return self.name


class OperationResult(models.Model):
    """The result of a succeeded operation: a value, a file, or a location."""

    operation = models.OneToOneField(
        Operation, models.CASCADE, primary_key=True, related_name="result"
    )
    attempt = models.PositiveIntegerField(_("attempt"))
    value = models.JSONField(_("value"), null=True, blank=True)
    file = models.ForeignKey(
        OperationFile, models.CASCADE, null=True, blank=True, db_index=False, related_name="+"
    )
    # {"route": name, "args": [...], "kwargs": {...}}, or {"url": ...}. A read reverses the route.
    location = models.JSONField(_("location"), null=True, blank=True)
    content_type = ExactCharField(_("content type"), max_length=255, blank=True, default="")
    headers = models.JSONField(_("headers"), default=dict, blank=True)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("operation result")
        verbose_name_plural = _("operation results")
        indexes = (models.Index(fields=["file"], name="async_reply_result_file"),)

    def __str__(self) -> str:
        return f"result of {self.operation_id}"


class OperationAttempt(models.Model):
    """An attempt that did not succeed. One that succeeded or was canceled leaves no row."""

    class Outcome(models.TextChoices):
        RETRY = "retry", _("retry")
        LOST = "lost", _("lost")
        RELEASED = "released", _("released")
        FAILED = "failed", _("failed")
        TIMED_OUT = "timed out", _("timed out")

    operation = models.ForeignKey(
        Operation, models.CASCADE, db_index=False, related_name="attempts"
    )
    number = models.PositiveIntegerField(_("number"))
    worker = ExactCharField(_("worker"), max_length=255, blank=True, default="")
    started_at = models.DateTimeField(_("started at"), null=True)
    ended_at = models.DateTimeField(_("ended at"), db_default=DatabaseNow())
    outcome = ExactCharField(_("outcome"), max_length=9, choices=Outcome.choices)
    exception = ExactCharField(_("exception"), max_length=255, blank=True, default="")
    message = ExactCharField(_("message"), max_length=1000, blank=True, default="")
    traceback = ExactTextField(_("traceback"), blank=True, default="")

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("operation attempt")
        verbose_name_plural = _("operation attempts")
        constraints = (
            models.UniqueConstraint(
                fields=["operation", "number"], name="async_reply_attempt_number"
            ),
        )

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.operation_id}"


class ProcessCommand(models.Model):
    """An operator's command to the process that runs an attempt, and what the process answered.

    A later command of the same name takes the row of the earlier one.
    """

    class Name(models.TextChoices):
        SHOW_STACK = "show stack", _("show the stack")
        END = "end", _("end the process")

    operation = models.ForeignKey(
        Operation, models.CASCADE, db_index=False, related_name="process_commands"
    )
    name = ExactCharField(_("name"), max_length=10, choices=Name.choices)
    #: The attempt that the operator saw. Processes of other attempts do not obey.
    attempt = models.PositiveIntegerField(_("attempt"))
    given_at = models.DateTimeField(_("given at"), db_default=DatabaseNow())
    answered_at = models.DateTimeField(_("answered at"), null=True, blank=True)
    answer = ExactTextField(_("answer"), blank=True, default="")

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("process command")
        verbose_name_plural = _("process commands")
        constraints = (
            models.UniqueConstraint(fields=["operation", "name"], name="async_reply_command_name"),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.operation_id}"
