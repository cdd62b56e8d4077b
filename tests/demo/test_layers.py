"""The benchmark of layers still runs, and finds the modules of a submit and of a poll."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_layers__prints_a_row_for_submit_and_poll() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.layers"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    rows = re.findall(r"^(POST|poll).*?(\d+) +(\d+) +(\d+)$", process.stdout, re.MULTILINE)
    assert [name for name, *_ in rows] == ["POST", "poll"]
    for _, modules, moves, calls in rows:
        assert 10 < int(modules) < int(moves) < int(calls)
    assert "views.submit 1" in process.stdout
