"""`make demo` in a fresh clone: it installs what the demo needs, and shows a conversation."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.packaging.environments import ROOT, clean, copy_repository, run


def dry_run(target: str, folder: Path) -> str:
    """The commands of a target, where nothing is installed yet."""
    if shutil.which("make") is None or not (ROOT / "Makefile").exists():
        pytest.skip("needs make and the repository")
    return run(["make", "-n", target, f"VENV={folder}/none"], cwd=ROOT)


@pytest.mark.parametrize("target", ["demo", "serve"])
def test_demo__installs_no_tools_of_development(tmp_path: Path, target: str) -> None:
    commands = dry_run(target, tmp_path)
    assert "options.extras_require" in commands
    assert "--editable" not in commands
    assert "[dev]" not in commands


def test_test__installs_the_rest(tmp_path: Path) -> None:
    commands = dry_run("test", tmp_path)
    assert "--editable '.[dev]'" in commands
    # A demo that is started afterwards installs nothing.
    assert f"touch {tmp_path}/none/.demo {tmp_path}/none/.installed" in commands


@pytest.mark.slow
def test_demo__of_a_fresh_clone_says_one_line_before_the_conversation(tmp_path: Path) -> None:
    """The conversation ends with the results. A second run installs nothing, and says no line."""
    clone = copy_repository(tmp_path / "clone")

    def make_demo() -> list[str]:
        process = subprocess.run(
            ["make", "demo"],
            cwd=clone,
            env=clean(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stdout
        # pip warns of folders without packages that its configuration names.
        lines = process.stdout.splitlines()
        return [line for line in lines if not line.startswith("WARNING: Location")]

    first = make_demo()
    assert first[0].startswith("Installing the demo into .venv")
    assert first[1].startswith("POST /api/csv-profiles/")
    assert "Checked against the file: 1,461 rows, 0 empty cells." in first
    assert make_demo()[0].startswith("POST /api/csv-profiles/")
    packages = [path.name for path in (clone / ".venv").glob("lib/*/site-packages/*")]
    assert {"django", "celery", "gunicorn"} <= set(packages)
    assert {"pytest", "mypy", "playwright"} & set(packages) == set()
