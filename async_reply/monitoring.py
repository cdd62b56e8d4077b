"""The tables about workers: living ones, their turns, and counts of finished operations."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from async_reply.database.clock import DatabaseNow
from async_reply.database.fields import ExactCharField
from async_reply.database.identifiers import uuid7
from async_reply.querysets import PrimaryManager


class Worker(models.Model):
    """A worker, as its maintenance thread last reported it. Several may have one node name."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = ExactCharField(_("name"), max_length=255)
    host = ExactCharField(_("host"), max_length=255, blank=True, default="")
    pid = models.PositiveIntegerField(_("process id"), default=0)
    # The end of the name of each of its processes in `Operation.worker`. Only this worker has it.
    boot_id = ExactCharField(max_length=16, blank=True, default="", editable=False)
    started_at = models.DateTimeField(_("started at"), db_default=DatabaseNow())
    seen_at = models.DateTimeField(_("seen at"), db_default=DatabaseNow())
    concurrency = models.PositiveIntegerField(_("concurrency"), default=0)
    queues = models.JSONField(_("queues"), default=list)
    # The names of the kinds that it knows. Empty: it has not said.
    kinds = models.JSONField(_("kinds"), default=list, blank=True)
    # The first failure of its messages in a row. Empty: it reaches the broker, or sends nothing.
    broker_down_since = models.DateTimeField(_("broker down since"), null=True, blank=True)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        indexes = (models.Index(fields=["seen_at"], name="async_reply_worker_seen"),)

    def __str__(self) -> str:
        return f"{self.name}/{self.pid}"


class Turn(models.Model):
    """When a duty is due next that one worker does for all, and what it found the last time."""

    duty = ExactCharField(_("duty"), max_length=50, primary_key=True)
    due_at = models.DateTimeField(_("due at"))
    findings = models.JSONField(_("findings"), default=dict)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("turn")
        verbose_name_plural = _("turns")

    def __str__(self) -> str:
        return self.duty


class KindStatistics(models.Model):
    """Counts of a kind's operations that finished in a minute, ten minutes, an hour or a day.

    Days are those of UTC. A row of the span "ever" counts all days before `start`.
    """

    class Span(models.TextChoices):
        MINUTE = "minute", _("minute")
        TEN_MINUTES = "ten", _("ten minutes")
        HOUR = "hour", _("hour")
        DAY = "day", _("day")
        EVER = "ever", _("ever")

    id = models.BigAutoField(primary_key=True)
    kind = ExactCharField(_("kind"), max_length=200)
    span = ExactCharField(_("span"), max_length=6, choices=Span.choices)
    start = models.DateTimeField(_("start"))
    succeeded = models.PositiveBigIntegerField(_("succeeded"), default=0)
    failed = models.PositiveBigIntegerField(_("failed"), default=0)
    canceled = models.PositiveBigIntegerField(_("canceled"), default=0)
    # How often these operations were run again, after an error and after a lost attempt.
    retries = models.PositiveBigIntegerField(_("retries"), default=0)
    losses = models.PositiveBigIntegerField(_("losses"), default=0)
    # The last attempts that ran to their end: seconds in the queue before, and seconds of running.
    wait_seconds = models.FloatField(_("seconds of waiting"), default=0)
    run_seconds = models.FloatField(_("seconds of running"), default=0)
    # Their number by logarithmic bin: {"bin": count}. See statistics/histograms.py.
    waits = models.JSONField(_("waits"), default=dict)
    runs = models.JSONField(_("runs"), default=dict)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("kind statistics")
        verbose_name_plural = _("kind statistics")
        constraints = (
            models.UniqueConstraint(fields=["span", "start", "kind"], name="async_reply_stats_row"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.span} {self.start:%Y-%m-%d %H:%M}"
