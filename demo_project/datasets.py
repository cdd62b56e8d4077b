"""Import the rows of a CSV file in short transactions that may be repeated."""

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

    Begun again after it was cut short, or by two at once, it writes the same rows and no more.
    It is not complete before `complete`. `on_batch` is called with the rows and the bytes read
    so far; what it raises ends the import.
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
    """One transaction: others write in between."""
    DatasetRow.objects.bulk_create(
        [DatasetRow(dataset=dataset, number=number, values=row) for number, row in numbered],
        ignore_conflicts=True,
    )


def complete(pk: UUID, *, rows: int) -> None:
    """Show the dataset to its owner."""
    Dataset.objects.filter(pk=pk).update(rows=rows)


def discard(pk: UUID) -> None:
    """Remove a dataset that will never be complete."""
    DatasetRow.objects.filter(dataset_id=pk).delete()
    Dataset.objects.filter(pk=pk).delete()
