"""Makes a CSV file of any length while it is read. The content is the same each time."""

from collections.abc import Iterator
from datetime import date, timedelta

BATCH_ROWS = 1_000

HEADER = "number,day,amount,note\n"
DAYS = [str(date(2000, 1, 1) + timedelta(days=number)) for number in range(10_000)]
NOTES = ("", "plain", '"with, comma"', '"say ""hi"""', "Ünïcødé ✓")


def batches(rows: int) -> Iterator[str]:
    """Yield the header, then the lines in batches of up to 1,000."""
    yield HEADER
    for start in range(0, rows, BATCH_ROWS):
        yield "".join(map(_line, range(start, min(rows, start + BATCH_ROWS))))


def count(rows: int) -> int:
    """The number of pieces that `batches` yields."""
    return 1 + -(-rows // BATCH_ROWS)


def _line(number: int) -> str:
    """A line whose amount looks random: a linear congruence of its number."""
    cents = number * 7_919 % 1_000_003
    day = DAYS[number % len(DAYS)]
    return f"{number},{day},{cents // 100}.{cents % 100:02},{NOTES[number % len(NOTES)]}\n"
