"""Nothing is lost, doubled or stuck, whatever dies. FAULTS_FULL=1 is what `make faults` sets."""

from pathlib import Path

import pytest

from tests.faults import chaos, figures, report
from tests.faults.conftest import FULL

pytestmark = pytest.mark.faults


def test_chaos__on_sqlite_and_files_in_short(tmp_path: Path) -> None:
    judge(chaos.run("SQLite + files", tmp_path, scale=chaos.SHORT, seed=chaos.seed()))


@pytest.mark.skipif(not FULL, reason="make faults runs it")
@pytest.mark.parametrize("pairing", chaos.PAIRINGS)
def test_chaos__in_full(pairing: str, tmp_path: Path) -> None:
    run = chaos.run(pairing, tmp_path, scale=chaos.FULL, seed=chaos.seed())
    report.keep(figures.of(run))
    judge(run)


def judge(run: chaos.Run) -> None:
    print(figures.of(run))  # noqa: T201 read when it is red
    assert run.errors == []
    assert run.breaches == {}
    assert len(run.evidence.accepted) == run.scale.operations
    assert len(run.faults) == run.scale.faults
