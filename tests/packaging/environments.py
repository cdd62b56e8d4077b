"""The built distribution, and environments that hold nothing but what is installed into them."""

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What the run of the suite sets, and no project inherits.
OURS = ("COV_", "DJANGO_", "PYTHON", "PYTEST_", "TOX_", "DATABASE_URL", "CELERY_BROKER_URL")


def clean() -> dict[str, str]:
    """The environment variables of somebody who has just opened a shell."""
    return {key: value for key, value in os.environ.items() if not key.startswith(OURS)}


@dataclass(frozen=True)
class Distribution:
    """What `python -m build` makes: the sdist, and the wheel from that sdist."""

    sdist: Path
    wheel: Path

    @classmethod
    def build(cls, folder: Path) -> "Distribution":
        command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
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
        """Those of a shell in which the environment is activated."""
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        return {**clean(), "VIRTUAL_ENV": str(self.folder), "PATH": path}

    def install(self, *requirements: str) -> None:
        options = ["--quiet", "--disable-pip-version-check", "--no-compile"]
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python")]
        run([*pip, "install", *options, *requirements], cwd=self.folder)

    def run(self, *command: str, cwd: Path, status: int = 0, **variables: str) -> str:
        """What a command prints, with this environment's programs first; it ends with `status`."""
        return run(list(command), cwd=cwd, status=status, env={**self.variables, **variables})


def run(
    command: list[str], *, cwd: Path, status: int = 0, env: dict[str, str] | None = None
) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env or clean(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    told = done.stdout + done.stderr
    assert done.returncode == status, f"{command}: {told}"
    return told
