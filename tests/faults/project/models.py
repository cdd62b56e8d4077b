"""The table for effects of jobs, and the table of the design that tutorials show."""

from typing import Any

from django.db import models


class Effect(models.Model):
    """A row that `operation.on_finish` writes: one for each succeeded operation."""

    operation = models.UUIDField()
    attempt = models.PositiveIntegerField()

    objects: "models.Manager[Any]" = models.Manager()

    class Meta:
        app_label = "faults"

    def __str__(self) -> str:
        return f"effect of {self.operation}"


class StepEffect(models.Model):
    """A row that an atomic step writes."""

    operation = models.UUIDField()
    step = models.CharField(max_length=20)

    objects: "models.Manager[Any]" = models.Manager()

    class Meta:
        app_label = "faults"

    def __str__(self) -> str:
        return f"effect of {self.step} of {self.operation}"


class TutorialJob(models.Model):
    """A job in the design of tutorials: each process saves the status without a guard."""

    status = models.CharField(max_length=10, default="pending")

    objects: "models.Manager[Any]" = models.Manager()

    class Meta:
        app_label = "faults"

    def __str__(self) -> str:
        return f"job {self.pk}"
