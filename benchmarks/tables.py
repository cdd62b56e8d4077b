"""Puts the tables of benchmarks into the pages of the documentation."""

import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
PACKAGES = ("Django", "djangorestframework", "celery", "psycopg", "gunicorn", "uvicorn")

Row = Sequence[str]


def table(rows: Iterable[Row]) -> str:
    """A list-table whose first row is its header."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'*' if number == 0 else ' '} - {cell}" for number, cell in enumerate(row)]
    return "\n".join(lines)


def replace(page: Path, name: str, content: str) -> None:
    """Write `content` between the marks `.. begin <name>` and `.. end <name>` of a page."""
    begin, end = f".. begin {name}\n", f".. end {name}\n"
    before, _, rest = page.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{page} has no marks {begin.strip()!r} and {end.strip()!r}.")
    page.write_text(f"{before}{begin}\n{content}\n\n{end}{after}")


def circumstances() -> str:
    """The day, the processors and the versions of a run, as a sentence."""
    cpus = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"Measured on {datetime.now(tz=UTC):%Y-%m-%d} on {len(cpus)} processors ({cpus[0]}), "
        f"Python {platform.python_version()}, {versions}."
    )
