"""The tables of imported datasets."""

import uuid

from django.db import models


class Dataset(models.Model):
    """A table that a user uploaded. Its id is the id of the operation that imports it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    owner = models.CharField(max_length=191)
    name = models.CharField(max_length=255)
    columns = models.JSONField(default=list)
    # The number of rows; None until the import is complete.
    rows = models.PositiveBigIntegerField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class DatasetRow(models.Model):
    """A row of a dataset. Its number keeps a job that runs again from writing the row twice."""

    dataset = models.ForeignKey(Dataset, models.CASCADE, db_index=False, related_name="+")
    number = models.PositiveBigIntegerField()
    values = models.JSONField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["dataset", "number"], name="demo_dataset_row_number"),
        )

    def __str__(self) -> str:
        return f"row {self.number}"
