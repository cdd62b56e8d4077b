"""Imports the rows of a CSV file for a job, in short transactions that may run twice."""

from collections.abc import Callable, Iterable
from uuid import UUID

from demo_project.csv_rows import Readable, Table
from demo_project.models import Dataset, DatasetRow


def load(
    stream: Readable,
    *,
    pk: UUID,
    owner: str,
    name: str,
    on_batch: Callable[[int, int], None],
) -> int:
    """Write the table as the dataset `pk` and return its number of rows; raises CsvError.

    Two attempts, one after the other or at the same time, write each row once. The owner sees the
    dataset after `complete`. `on_batch` is called with the number of rows and bytes read so far.
    An exception of `on_batch` ends the import.
    """
    table = Table(stream)
    values = {"owner": owner, "name": name, "columns": table.header}
    dataset = Dataset.objects.get_or_create(pk=pk, defaults=values)[0]
    rows = 0
    for batch in table.batches():
        _write(dataset, enumerate(batch, start=rows + 1))
        rows += len(batch)
        on_batch(rows, table.bytes_read)
    return rows


def _write(dataset: Dataset, numbered: Iterable[tuple[int, list[str]]]) -> None:
    """Write a batch in one transaction. Between two batches, other transactions may write."""
    DatasetRow.objects.bulk_create(
        [DatasetRow(dataset=dataset, number=number, values=row) for number, row in numbered],
        ignore_conflicts=True,
    )


def complete(pk: UUID, *, rows: int) -> None:
    """Show the dataset to its owner."""
    Dataset.objects.filter(pk=pk).update(rows=rows)


def discard(pk: UUID) -> None:
    """Delete a dataset that will never be complete."""
    DatasetRow.objects.filter(dataset_id=pk).delete()
    Dataset.objects.filter(pk=pk).delete()
