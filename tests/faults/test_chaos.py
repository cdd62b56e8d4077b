"""Nothing is lost, doubled or stuck, whatever dies: the short form of `make faults`."""

from pathlib import Path

import pytest

from tests.faults import chaos

pytestmark = pytest.mark.faults


def test_chaos__on_sqlite_and_files(tmp_path: Path) -> None:
    run = chaos.run("SQLite + files", tmp_path, scale=chaos.SHORT, seed=chaos.seed())
    print(chaos.counts(run), f"{run.seconds:.0f} s")  # noqa: T201 read when it is red
    assert run.errors == []
    assert run.breaches == {}
    assert len(run.evidence.accepted) == chaos.SHORT.operations
    assert len(run.faults) == chaos.SHORT.faults
