"""The files of the previous commit: an upgrade finds its tables and its processes."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.packaging.environments import ROOT, run


def previous_commit() -> str:
    """The commit before the last one, or the one that UPGRADE_FROM names.

    The previous commit of a merge is its first parent, so the merge counts as one change. The new
    code is the work tree: the last commit, and changes that are not committed yet.

    A folder without that history skips the test, even if ASYNC_REPLY_REQUIRE_SERVICES is set.
    """
    wanted = os.environ.get("UPGRADE_FROM", "")
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this folder is not a clone, or git is missing: there is no previous commit")
    command = ["git", "rev-parse", "--verify", "--quiet", f"{wanted or 'HEAD~1'}^{{commit}}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout.strip()
    if wanted:
        pytest.fail(f"UPGRADE_FROM is {wanted}, and this clone has no such commit: fetch it.")
    pytest.skip("this clone has one commit only: fetch the one before it, git fetch --deepen=1")


def export(commit: str, folder: Path) -> Path:
    """Write the files of a commit into a new folder; return it."""
    archive = folder.with_suffix(".tar")
    run(["git", "archive", f"--output={archive}", commit], cwd=ROOT)
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    archive.unlink()
    return folder
