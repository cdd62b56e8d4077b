"""Reads the rows of a CSV file from a binary stream, one batch at a time.

The file is UTF-8, with or without a byte order mark, separated by commas and quoted as RFC 4180
says. Its first line names the columns. Blank lines are skipped, so a table of one column writes
an empty value as ``""``. The memory holds one batch, or one row of at most 1,048,576 characters.
"""

import csv
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BATCH_ROWS = 4_000
BATCH_CHARACTERS = 512 * 1024
ROW_CHARACTERS = 1024 * 1024
MAX_COLUMNS = 1_000

# NUL, and the surrogates by which "surrogateescape" replaces bytes that are not UTF-8.
_UNREADABLE = re.compile("[\0\udc80-\udcff]")


class CsvError(ValueError):
    """The file is not a readable table. The message says what to correct."""


class Readable(Protocol):
    """A stream: `read(size)` returns at most `size` bytes, and b"" at the end."""

    def read(self, size: int, /) -> bytes: ...


class Table:
    """The header of a CSV file, and its rows in batches. Raises `CsvError`."""

    def __init__(self, stream: Readable) -> None:
        self._lines = _Lines(stream)
        self._records = self._read_records()
        self.header = self._read_header()

    @property
    def bytes_read(self) -> int:
        return self._lines.bytes_read

    def batches(self) -> Iterator[list[list[str]]]:
        """Yield lists of rows. Each row is as long as the header. The last list may be empty."""
        batch: list[list[str]] = []
        characters = 0
        for row in self._records:
            if len(row) != len(self.header):
                raise CsvError(
                    f"Line {self._lines.number} has {len(row):,} fields, the header has "
                    f"{len(self.header):,}: give each row one value for each column, and put "
                    "values that contain commas in quotes."
                )
            batch.append(row)
            characters += self._lines.row_characters
            if len(batch) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
                yield batch
                batch = []
                characters = 0
        yield batch

    def _read_header(self) -> list[str]:
        names = next(self._records, None)
        if names is None:
            raise CsvError("The file is empty: send a CSV file whose first line names its columns.")
        if len(names) > MAX_COLUMNS:
            raise CsvError(
                f"The header has {len(names):,} columns, at most {MAX_COLUMNS:,} are read: "
                "split the table."
            )
        return [name.strip() or f"column {number}" for number, name in enumerate(names, start=1)]

    def _read_records(self) -> Iterator[list[str]]:
        first_line = 1
        try:
            for row in csv.reader(self._lines, strict=True):
                if row:
                    yield row
                self._lines.row_characters = 0
                first_line = self._lines.number + 1
        except csv.Error as error:
            raise CsvError(
                f"The row that starts on line {first_line} is not valid CSV ({error}): check its "
                'quotes (inside a quoted value a quote is written "") and that no value is longer '
                f"than {csv.field_size_limit():,} characters."
            ) from error


class _Lines:
    """Iterates over the lines. `row_characters` grows until the reader of rows resets it."""

    def __init__(self, stream: Readable) -> None:
        self._counter = _Counter(stream)
        # Bytes that are not UTF-8 become lone surrogates. The check below names their line.
        self._text = io.TextIOWrapper(
            io.BufferedReader(self._counter), "utf-8-sig", errors="surrogateescape", newline=""
        )
        self.number = 0
        self.row_characters = 0

    @property
    def bytes_read(self) -> int:
        return self._counter.bytes_read

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(ROW_CHARACTERS + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.row_characters += len(line)
        # Both tests are cheap, so that few lines need the regular expression.
        if "\0" in line or not line.isascii():
            self._check_readable(line)
        if self.row_characters > ROW_CHARACTERS:
            raise CsvError(
                f"The row on line {self.number} is longer than {ROW_CHARACTERS:,} characters: "
                "check that this is a CSV file and that each quote is closed."
            )
        return line

    def _check_readable(self, line: str) -> None:
        if match := _UNREADABLE.search(line):
            position = len(line[: match.start()].encode()) + 1
            raise CsvError(
                f"Line {self.number} is not UTF-8 text (byte {position} of it is "
                f"0x{ord(match[0]) & 0xFF:02X}): save the table as CSV in UTF-8 and send that."
            )


class _Counter(io.RawIOBase):
    """Counts the bytes read. Closing the counter leaves the caller's stream open."""

    def __init__(self, stream: Readable) -> None:
        super().__init__()
        self._stream = stream
        self.bytes_read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer)
        data = self._stream.read(len(view))
        view[: len(data)] = data
        self.bytes_read += len(data)
        return len(data)
