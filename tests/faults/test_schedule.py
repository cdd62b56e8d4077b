"""Plans depend on their seed only. The report replaces the table of its page."""

from pathlib import Path

import pytest

from tests.faults import report
from tests.faults.schedule import WEIGHTS, plan


def test_plan__is_the_same_for_the_same_seed() -> None:
    def drawn(seed: int) -> object:
        return plan(seed, count=40, seconds=60, lease=3, possible=WEIGHTS)

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize("count", [13, 100])
def test_plan__has_each_possible_kind(count: int) -> None:
    faults = plan(7, count=count, seconds=60, lease=3, possible=WEIGHTS)
    assert {fault.kind for fault in faults} == set(WEIGHTS)
    assert len(faults) == count
    assert all(0 <= fault.at <= 60 for fault in faults)
    few = plan(7, count=count, seconds=60, lease=3, possible={"deploy": None})
    assert {fault.kind for fault in few} == {"deploy"}


def test_report__writes_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.rst"
    page.write_text(f"above\n\n{report.BEGIN}\nold\n{report.END}\n\nbelow\n")
    report.write(page, "new")
    report.write(page, "newer")
    assert page.read_text() == f"above\n\n{report.BEGIN}\n\nnewer\n\n{report.END}\n\nbelow\n"
