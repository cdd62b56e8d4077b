"""Under random faults no operation is lost, doubled or stuck. `make faults` sets FAULTS_FULL=1."""

from pathlib import Path

import pytest

from tests.faults import chaos, figures, report
from tests.faults.conftest import FULL

pytestmark = pytest.mark.faults


def test_chaos__short_on_sqlite_and_files(tmp_path: Path) -> None:
    judge(chaos.run("SQLite + files", tmp_path, scale=chaos.SHORT, seed=chaos.seed()))


@pytest.mark.skipif(not FULL, reason="make faults runs it")
@pytest.mark.parametrize("pairing", chaos.PAIRINGS)
def test_chaos__full(pairing: str, tmp_path: Path) -> None:
    run = chaos.run(pairing, tmp_path, scale=chaos.FULL, seed=chaos.seed())
    report.store(figures.of(run))
    judge(run)


def judge(run: chaos.Run) -> None:
    print(figures.of(run))  # noqa: T201 a failed run needs it
    assert run.errors == []
    assert run.breaches == {}
    assert len(run.evidence.accepted) == run.scale.operations
    assert len(run.faults) == run.scale.faults
