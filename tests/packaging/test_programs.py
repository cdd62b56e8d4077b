"""Each program of the tests and the benchmarks starts without Django's settings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.environments import ROOT

SOURCES = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]
PROGRAMS = sorted(
    path.relative_to(ROOT)
    for path in SOURCES
    if '\nif __name__ == "__main__":\n' in path.read_text()
)


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_program__imports_no_tables_before_it_has_settings(program: Path) -> None:
    module = ".".join(program.with_suffix("").parts)
    environment = {**os.environ}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    command = [sys.executable, "-c", f"import {module}"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
