"""The table of steps, sleeps and questions: what a job has done, for its later attempts."""

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from async_reply.database.clock import DatabaseNow
from async_reply.database.fields import ExactCharField, ExactTextField
from async_reply.querysets import PrimaryManager

#: The length of a step's name.
NAME_LENGTH = 200


class OperationStep(models.Model):
    """A step of a job: its value, its file, or the exception that it stores.

    Sleeps and questions are steps too, which end at a time, or by an answer.
    """

    class Sort(models.TextChoices):
        STEP = "step", _("step")
        SLEEP = "sleep", _("sleep")
        QUESTION = "question", _("question")

    operation = models.ForeignKey(
        "async_reply.Operation", models.CASCADE, db_index=False, related_name="stored_steps"
    )
    name = ExactCharField(_("name"), max_length=NAME_LENGTH)
    sort = ExactCharField(_("sort"), max_length=8, choices=Sort.choices, default=Sort.STEP)
    # 1 for the first step that the operation stored.
    ordinal = models.PositiveIntegerField(_("ordinal"))
    # The attempt that stored it. For a question it is its number, too: an attempt asks once.
    attempt = models.PositiveIntegerField(_("attempt"))
    # JSON. A JSON column of PostgreSQL would sort keys, and make 1e20 a whole number: the step
    # would return another value in a later attempt. '' for a file.
    value = ExactTextField(_("value"), blank=True, default="")
    file = models.ForeignKey(
        "async_reply.OperationFile",
        models.CASCADE,
        null=True,
        blank=True,
        db_index=False,
        related_name="+",
    )
    # The class of an exception that `stores` names. Then the value has its arguments.
    exception = ExactCharField(_("exception"), max_length=255, blank=True, default="")
    # Of the arguments. '' if they are not JSON.
    digest = ExactCharField(max_length=64, blank=True, default="", editable=False)
    size = models.PositiveIntegerField(_("size in bytes"), default=0)
    seconds = models.FloatField(_("seconds"), default=0)
    ended_at = models.DateTimeField(_("ended at"), db_default=DatabaseNow())
    # Of sleeps and questions: by the clock of the database.
    since = models.DateTimeField(_("since"), null=True, blank=True)
    until = models.DateTimeField(_("until"), null=True, blank=True)
    # The owner who answered, or the scope of the valet key; `staff-7` for user 7 of the admin.
    answered_by = ExactCharField(_("answered by"), max_length=255, blank=True, default="")

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("operation step")
        verbose_name_plural = _("operation steps")
        constraints = (
            models.UniqueConstraint(fields=["operation", "name"], name="async_reply_step_name"),
        )
        indexes = (models.Index(fields=["file"], name="async_reply_step_file"),)

    def __str__(self) -> str:
        return f"step {self.name} of {self.operation_id}"

    @property
    def is_open(self) -> bool:
        """Whether it is a question with neither an answer nor a NoAnswer."""
        return self.sort == self.Sort.QUESTION and not self.value and not self.exception

    @classmethod
    def of(cls, operation: Any) -> "models.QuerySet[Any]":
        """The steps of `operation`, in the order in which they were stored."""
        return cls.objects.filter(operation_id=operation.pk).order_by("ordinal")
