"""Builds the distribution, and makes empty environments to install it into."""

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: The prefixes of variables that belong to the suite. Commands in an environment do not get them.
OWN_PREFIXES = (
    *("COV_", "DJANGO_", "PYTHON", "PYTEST_", "TOX_", "DATABASE_URL", "CELERY_BROKER_URL"),
    *("MAKE", "MFLAGS"),  # of the `make` that runs the suite: another one would write its folder
)


def clean() -> dict[str, str]:
    """The environment variables of a new shell."""
    return {key: value for key, value in os.environ.items() if not key.startswith(OWN_PREFIXES)}


def repository_files() -> set[str]:
    """The files of the repository, new ones that are not committed yet included."""
    if not (ROOT / ".git").exists():
        pytest.skip("this folder is not a clone, so git cannot list its files")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return {name for name in run(command, cwd=ROOT).splitlines() if (ROOT / name).exists()}


def copy_repository(folder: Path) -> Path:
    """Copy the files of the repository into a new folder; return it."""
    for name in repository_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@dataclass(frozen=True)
class Distribution:
    """The files that `python -m build` makes: the sdist, and the wheel built from it."""

    sdist: Path
    wheel: Path

    @classmethod
    def build(cls, folder: Path) -> "Distribution":
        # A build walks through its folder. In the checkout, other tests write and remove files.
        source = copy_repository(folder / "source")
        command = [sys.executable, "-m", "build", "--outdir", str(folder), str(source)]
        run(command, cwd=folder)
        return cls(sdist=next(folder.glob("*.tar.gz")), wheel=next(folder.glob("*.whl")))


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> "Environment":
        venv.create(folder, symlinks=True)
        return cls(folder)

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of a shell in which the environment is activated."""
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        return {**clean(), "VIRTUAL_ENV": str(self.folder), "PATH": path}

    def install(self, *requirements: str) -> None:
        options = ["--quiet", "--disable-pip-version-check", "--no-compile"]
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python")]
        run([*pip, "install", *options, *requirements], cwd=self.folder)

    def run(self, *command: str, cwd: Path, status: int = 0, **variables: str) -> str:
        """Run a command of this environment; return its output. It must end with `status`."""
        return run(list(command), cwd=cwd, status=status, env={**self.variables, **variables})


def run(
    command: list[str], *, cwd: Path, status: int = 0, env: dict[str, str] | None = None
) -> str:
    process = subprocess.run(
        command,
        cwd=cwd,
        env=env or clean(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    output = process.stdout + process.stderr
    assert process.returncode == status, f"{command}: {output}"
    return output
