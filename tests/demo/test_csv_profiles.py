"""The profiles of CSV files: types, extremes, counts, errors, memory."""

import csv
import io
import json
import math
import tracemalloc
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo_project import csv_profiles, csv_rows
from demo_project.csv_profiles import CsvError, profile

DATA = Path(csv_profiles.__file__).parent / "data"


class Generated:
    """A stream that makes its bytes while they are read, so that a test does not hold them."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks = chunks
        self.rest = b""

    def read(self, size: int, /) -> bytes:
        if not self.rest:
            self.rest = next(self.chunks, b"")
        data, self.rest = self.rest[:size], self.rest[size:]
        return data


def profile_text(text: str) -> dict[str, Any]:
    return profile(io.BytesIO(text.encode()))


def profile_column(*values: str) -> dict[str, Any]:
    """Profile one column. A second column keeps rows with an empty value from being blank lines."""
    lines = ["a,b", *(f"{value},x" for value in values)]
    column: dict[str, Any] = profile_text("\n".join(lines))["columns"][0]
    return column


def test_profile__describes_each_column() -> None:
    text = "day,mm,note\n2024-02-29,1,dry\n2024-01-01,,\n2024-03-01,2.5,wet\n"
    expected = {
        "rows": 3,
        "columns": [
            {
                "name": "day",
                "type": "date",
                "count": 3,
                "empty": 0,
                "distinct": 3,
                "distinct_more_than": False,
                "min": "2024-01-01",
                "max": "2024-03-01",
                "mean": None,
            },
            {
                "name": "mm",
                "type": "number",
                "count": 2,
                "empty": 1,
                "distinct": 2,
                "distinct_more_than": False,
                "min": 1.0,
                "max": 2.5,
                "mean": 1.75,
            },
            {
                "name": "note",
                "type": "text",
                "count": 2,
                "empty": 1,
                "distinct": 2,
                "distinct_more_than": False,
                "min": "dry",
                "max": "wet",
                "mean": None,
            },
        ],
    }
    assert expected == profile_text(text)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-2", "+3", "0"], "integer"),
        (["9" * 18], "integer"),
        (["9" * 19], "number"),
        (["1", "2.5", ".5", "1.", "-1e3"], "number"),
        (["2024-02-29", "0001-01-01"], "date"),
        (["true", "FALSE", "False"], "boolean"),
        (["01"], "text"),
        (["00.5"], "text"),
        ([" 1"], "text"),
        (["1_000"], "text"),
        (["\N{ARABIC-INDIC DIGIT ONE}"], "text"),
        (["NaN"], "text"),
        (["1", "inf"], "text"),
        (["1e999"], "text"),
        (["9" * 400], "text"),
        (["2023-02-29"], "text"),
        (["2024-2-29"], "text"),
        (["2024-W09-4"], "text"),
        (["2024-02-28", "1"], "text"),
        (["true", "1"], "text"),
        (["", ""], "empty"),
        ([], "empty"),
    ],
)
def test_profile__infers_the_narrowest_type(values: list[str], expected: str) -> None:
    assert expected == profile_column(*values)["type"]


@pytest.mark.parametrize(
    ("values", "low", "high", "mean"),
    [
        (["10", "9", "-1"], -1, 10, 6),
        (["10", "9.5"], 9.5, 10.0, 9.75),
        (["10", "9", "x"], "10", "x", None),
        (["999999999999999999", "999999999999999998"], 10**18 - 2, 10**18 - 1, 10.0**18),
        (["1e308", "1e308"], 1e308, 1e308, None),
        (["TRUE", "false"], False, True, None),
        (["true"], True, True, None),
        (["é", "z", "Z"], "Z", "é", None),
        ([""], None, None, None),
    ],
)
def test_profile__gives_extremes_and_mean_of_the_type(
    values: list[str], low: object, high: object, mean: float | None
) -> None:
    column = profile_column(*values)
    assert (low, high, mean) == (column["min"], column["max"], column["mean"])


def test_profile__of_numbers_followed_by_text_compares_all_values_as_text() -> None:
    values = [str(number) for number in range(2 * csv_rows.BATCH_ROWS)]
    column = profile_column(*values, "2024-01-01")
    assert (column["type"], column["min"], column["max"]) == ("text", "0", "999")


def test_profile__of_numbers_followed_by_dates_is_text() -> None:
    values = ["1.5"] * csv_rows.BATCH_ROWS + ["2024-01-01"] * csv_rows.BATCH_ROWS
    assert profile_column(*values)["type"] == "text"


def test_profile__mean_does_not_lose_small_numbers_between_batches() -> None:
    values = ["1e16", *["1.5"] * 2 * csv_rows.BATCH_ROWS, "-1e16"]
    assert 1.5 * 2 * csv_rows.BATCH_ROWS / len(values) == profile_column(*values)["mean"]


@pytest.mark.parametrize("length", [99, 100, 101, 5000])
def test_profile__cuts_long_texts_after_comparing_them(length: int) -> None:
    column = profile_column("b" * length + "z", "b" * length, "c")
    shown = "b" * length if length <= 100 else "b" * 100 + "…"
    assert (shown, "c") == (column["min"], column["max"])


def test_profile__reads_the_real_table() -> None:
    with (DATA / "seattle-weather.csv").open("rb") as stream:
        described = profile(stream)
        assert not stream.closed
    columns = {column["name"]: column for column in described["columns"]}
    assert described["rows"] == 1461
    assert (columns["date"]["type"], columns["date"]["max"]) == ("date", "2015-12-31")
    assert tuple(columns["temp_max"][key] for key in ("type", "min", "max")) == (
        "number",
        -1.6,
        35.6,
    )
    assert (columns["weather"]["type"], columns["weather"]["distinct"]) == ("text", 5)


@pytest.mark.parametrize("text", ["a,b\n", "a,b", "\r\n\na,b\r\n\r\n", "\ufeffa,b"])
def test_profile__accepts_a_header_without_rows(text: str) -> None:
    described = profile_text(text)
    assert described["rows"] == 0
    assert [(column["name"], column["type"]) for column in described["columns"]] == [
        ("a", "empty"),
        ("b", "empty"),
    ]


def test_profile__names_nameless_columns_and_keeps_equal_names() -> None:
    columns = profile_text("a, ,a,\n1,2,3,4\n")["columns"]
    assert [column["name"] for column in columns] == ["a", "column 2", "a", "column 4"]
    assert [column["min"] for column in columns] == [1, 2, 3, 4]


def test_profile__skips_blank_lines_and_counts_quoted_empty_values() -> None:
    described = profile_text('a\n1\n\n""\n')
    assert (described["rows"], described["columns"][0]["empty"]) == (2, 1)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_profile__reads_every_line_ending(newline: str) -> None:
    described = profile_text(newline.join(["a,b", "1,2", f'"x{newline}y",3']))
    assert (described["rows"], described["columns"][0]["distinct"]) == (2, 2)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "The file is empty: send"),
        (b"\xef\xbb\xbf", "The file is empty: send"),
        (b"\n\r\n", "The file is empty: send"),
        (b"a,b\n1,2\n1,2,3\n", "Line 3 has 3 fields, the header has 2: give"),
        (b"a,b\n\n1\n", "Line 3 has 1 fields, the header has 2: give"),
        (b"a\nx\nab\x00c\n", r"Line 3 is not UTF-8 text \(byte 3 of it is 0x00\): save"),
        (b"a\n\xc3\xa9\xe9,\n", r"Line 2 is not UTF-8 text \(byte 3 of it is 0xE9\): save"),
        (b"a\n\xc3", r"Line 2 is not UTF-8 text \(byte 1 of it is 0xC3\): save"),
        ("a,b\n".encode("utf-16"), r"Line 1 is not UTF-8 text \(byte 1 of it is 0xFF\): save"),
        (b'a\n1\n"x\ny', "The row that starts on line 3 is not valid CSV .*: check its quotes"),
        (b'a\n"x"y\n', "The row that starts on line 2 is not valid CSV .*: check its quotes"),
        (b"a\n" + b"x" * 200_000, "The row that starts on line 2 .* longer than 131,072 char"),
        (b"a\n" + b"x," * 600_000, "The row on line 2 is longer than 1,048,576 characters: check"),
        (b"," * 1000 + b"\n", "The header has 1,001 columns, at most 1,000 are read: split"),
    ],
)
def test_profile__of_a_bad_file_says_how_to_correct_it(content: bytes, expected: str) -> None:
    with pytest.raises(CsvError, match=expected):
        profile(io.BytesIO(content))


def test_profile__reports_rows_and_bytes_as_it_reads() -> None:
    content = b"a,b\n" + b"1,2\n" * 10_000
    seen: list[tuple[int, int]] = []
    profile(io.BytesIO(content), on_batch=lambda *progress: seen.append(progress))
    assert [rows for rows, _ in seen] == [4_000, 8_000, 10_000]
    assert sorted(bytes_read for _, bytes_read in seen) == [bytes_read for _, bytes_read in seen]
    assert len(content) == seen[-1][1]


def test_profile__ends_if_the_callback_raises() -> None:
    def stop(rows: int, bytes_read: int) -> None:
        raise InterruptedError(rows)

    with pytest.raises(InterruptedError, match="4000"):
        profile(Generated(b"a\n" if not n else b"1\n" * 1000 for n in range(10**9)), on_batch=stop)


def test_profile__counts_a_hundred_thousand_distinct_values_exactly() -> None:
    numbers = "\n".join(map(str, range(csv_profiles.DISTINCT_LIMIT)))
    column = profile_text(f"a\n{numbers}\n")["columns"][0]
    assert (column["distinct"], column["distinct_more_than"]) == (100_000, False)
    column = profile_text(f"a\n{numbers}\nx\n")["columns"][0]
    assert (column["distinct"], column["distinct_more_than"]) == (100_000, True)


def test_profile__stops_counting_in_the_largest_column_at_the_limit_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(csv_profiles, "DISTINCT_TOTAL", 150)
    rows = "\n".join(f"{number},{number % 60}" for number in range(100))
    columns = profile_text(f"a,b\n{rows}")["columns"]
    assert [(column["distinct"], column["distinct_more_than"]) for column in columns] == [
        (99, True),
        (60, False),
    ]


def test_profile__takes_little_memory_for_a_large_file() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"id,label,value\n"
        for start in range(0, 110_000, 1_000):
            rows = (f"{n},item {n:0170},{n / 7:.4f}\n" for n in range(start, start + 1_000))
            yield "".join(rows).encode()

    seen: list[int] = []
    tracemalloc.start()
    try:
        described = profile(Generated(chunks()), on_batch=lambda _, read: seen.append(read))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert described["rows"] == 110_000
    assert seen[-1] > 20_000_000
    assert peak < 30_000_000


CELLS = st.one_of(
    st.just(""),
    st.integers(-(10**17), 10**17).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.dates().map(str),
    st.sampled_from(["true", "false", "True", "01", "nan", 'say "x"', "a,b", "line\nbreak", " "]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
)


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    """Rows of a table. Most columns have values of one type only."""
    height = draw(st.integers(0, 12))
    kinds = st.sampled_from([CELLS, *CELLS.branches])
    columns = [
        draw(st.lists(draw(kinds), min_size=height, max_size=height))
        for _ in range(draw(st.integers(2, 4)))
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def naive_kind(values: list[str]) -> str:
    def fits(convert: Any) -> bool:
        try:
            return all(convert(value) for value in values)
        except (ValueError, OverflowError):
            return False

    def plain(value: str) -> bool:
        whole = value.lower().split("e")[0].split(".")[0].lstrip("+-")
        without_zeros = whole in {"", "0"} or not whole.startswith("0")
        return set(value) <= set("0123456789+-.eE") and without_zeros

    if not values:
        return "empty"
    if fits(lambda value: plain(value) and isinstance(int(value), int)):
        return "integer"
    if fits(lambda value: plain(value) and math.isfinite(float(value))):
        return "number"
    if fits(lambda value: str(date.fromisoformat(value)) == value):
        return "date"
    booleans = {word for name in ("true", "false") for word in (name, name.title(), name.upper())}
    return "boolean" if set(values) <= booleans else "text"


def naive_column(values: list[str]) -> dict[str, Any]:
    present = [value for value in values if value != ""]
    kind = naive_kind(present)
    convert: Any = {"integer": int, "number": float, "boolean": lambda v: v.lower() == "true"}
    typed = sorted(convert.get(kind, str)(value) for value in present)
    return {
        "type": kind,
        "count": len(present),
        "empty": len(values) - len(present),
        "distinct": len(set(present)),
        "min": typed[0] if typed else None,
        "max": typed[-1] if typed else None,
    }


@settings(deadline=None, max_examples=150)
@given(table=tables(), batch_rows=st.sampled_from([1, 2, 5, 4000]))
def test_profile__agrees_with_a_naive_computation(table: list[list[str]], batch_rows: int) -> None:
    width = len(table[0]) if table else 2
    written = io.StringIO()
    csv.writer(written).writerows([[f"c{number}" for number in range(width)], *table])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "BATCH_ROWS", batch_rows)
        described = profile_text(written.getvalue())
    assert len(table) == described["rows"]
    json.dumps(described, allow_nan=False)
    for number, column in enumerate(described["columns"]):
        values = [row[number] for row in table]
        expected = naive_column(values)
        assert expected == {key: column[key] for key in expected}
        if column["mean"] is not None:
            numbers = [Fraction(float(value)) for value in values if value]
            zero = Fraction()
            size = sum(map(abs, numbers), zero) / len(numbers)
            difference = sum(numbers, zero) / len(numbers) - Fraction(column["mean"])
            # The second term is the smallest positive double.
            assert abs(difference) <= size / 10**12 + Fraction(5e-324)
