"""The content of exported CSV files."""

import csv
import hashlib
import io
import tracemalloc

import pytest

from demo_project import exports


@pytest.mark.parametrize("rows", [0, 1, 999, 1000, 1001, 5000])
def test_batches__are_a_table_with_this_number_of_rows(rows: int) -> None:
    pieces = list(exports.batches(rows))
    table = list(csv.DictReader(io.StringIO("".join(pieces), newline=""), strict=True))
    assert [int(row["number"]) for row in table] == list(range(rows))
    assert len(pieces) == exports.count(rows)
    assert {tuple(row) for row in table} <= {("number", "day", "amount", "note")}


def test_batches__have_these_first_lines() -> None:
    lines = "".join(exports.batches(6)).splitlines()
    assert lines == [
        "number,day,amount,note",
        "0,2000-01-01,0.00,",
        "1,2000-01-02,79.19,plain",
        '2,2000-01-03,158.38,"with, comma"',
        '3,2000-01-04,237.57,"say ""hi"""',
        "4,2000-01-05,316.76,Ünïcødé ✓",
        "5,2000-01-06,395.95,",
    ]


def test_batches__are_the_same_each_time() -> None:
    first, second = (hashlib.sha256("".join(exports.batches(3000)).encode()) for _ in range(2))
    assert first.digest() == second.digest()


def test_batches__take_the_memory_of_one_batch() -> None:
    tracemalloc.start()
    try:
        for _piece in exports.batches(100_000):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1024 * 1024
