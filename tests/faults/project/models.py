"""What jobs of the fault suite leave in the database, and the tutorials' design."""

from typing import Any

from django.db import models


class Effect(models.Model):
    """Written by `operation.on_finish`: one for each operation that succeeded, never two."""

    operation = models.UUIDField()
    attempt = models.PositiveIntegerField()

    objects: "models.Manager[Any]" = models.Manager()

    class Meta:
        app_label = "faults"

    def __str__(self) -> str:
        return f"effect of {self.operation}"


class TutorialJob(models.Model):
    """A job as tutorials have it: a status column that whoever comes saves."""

    status = models.CharField(max_length=10, default="pending")

    objects: "models.Manager[Any]" = models.Manager()

    class Meta:
        app_label = "faults"

    def __str__(self) -> str:
        return f"job {self.pk}"
