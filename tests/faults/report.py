"""Stores the figures of runs in `.faults/` and writes them as a table into docs/faults.rst.

`make faults` runs the suite in full and then `python -m tests.faults.report`.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from tests.faults.figures import Figures

ROOT = Path(__file__).parents[2]
STORED = ROOT / ".faults"
PAGE = ROOT / "docs" / "faults.rst"
BEGIN, END = ".. begin of the table", ".. end of the table"

COLUMNS = {
    "accepted": "accepted",
    "faults": "faults",
    "lost": "lost",
    "two outcomes": "doubled",
    "stuck": "stuck",
    "rules breached": "breaches",
    "reruns": "reruns",
    "zombies refused": "refused",
    "503": "unavailable",
    "found, median s": "found_median",
    "found, longest s": "found_longest",
    "rerun, longest s": "rerun_longest",
    "amid outages, longest s": "rerun_longest_amid_outages",
    "submits without broker": "submits_without_broker",
    "their median ms": "submit_median",
    "their longest ms": "submit_longest",
    "jobs of steps": "stepped",
    "steps run again": "steps_again",
    "items done again": "items_again",
    "worker exits": "exits",
    "seed": "seed",
}


def store(figures: Figures) -> None:
    """Store the figures of a run until the page is written."""
    STORED.mkdir(exist_ok=True)
    name = figures.pairing.replace(" ", "").lower()
    (STORED / f"{name}.json").write_text(json.dumps(asdict(figures), indent=1))


def stored() -> list[Figures]:
    """The figures that `store` has stored."""
    return [Figures(**json.loads(path.read_text())) for path in sorted(STORED.glob("*.json"))]


def table(figures: list[Figures]) -> str:
    """A reStructuredText table, a column for each pairing."""
    lines = [".. list-table::", "   :header-rows: 1", "   :stub-columns: 1", ""]
    lines += _row("", [run.pairing for run in figures])
    for title, name in COLUMNS.items():
        lines += _row(title, [_cell(title, getattr(run, name)) for run in figures])
    for kind in sorted({kind for run in figures for kind in run.kinds}):
        lines += _row(kind, [str(run.kinds.get(kind, "-")) for run in figures])
    return "\n".join(lines)


def _row(title: str, cells: list[str]) -> list[str]:
    return [f"   * - {title}", *(f"     - {cell}" for cell in cells)]


def _cell(title: str, value: float | None) -> str:
    if value is None:
        return "-"
    if title.endswith("ms"):
        return f"{1000 * value:,.0f}"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def write(page: Path, text: str) -> None:
    """Replace the text between the page's two markers."""
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    rows = table(stored())
    sys.stdout.write(f"{rows}\n")
    write(PAGE, rows)
