"""The README's snippets make a project that runs."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", re.MULTILINE)


def snippets(document: Path) -> dict[str, str]:
    """File -> content, of the blocks whose first line names a file."""
    blocks = [textwrap.dedent(block) for block in BLOCK.findall(document.read_text())]
    return {block.split("\n")[0].removeprefix("# "): block for block in blocks}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `startproject`, `startapp` and the README make."""
    folder = tmp_path_factory.mktemp("readme")
    run(folder, "-m", "django", "startproject", "project", ".")
    run(folder, "-m", "django", "startapp", "reports")
    for name, content in snippets(ROOT / "README.rst").items():
        path = folder / name
        before = path.read_text() if path.name == "settings.py" else ""
        path.write_text(before + content)
    return folder


def run(folder: Path, *arguments: str, status: int = 0) -> str:
    """What a command in the project prints; it ends with `status`."""
    kept = ("DJANGO_SETTINGS_MODULE", "DATABASE_URL", "CELERY_BROKER_URL")
    environment = {key: value for key, value in os.environ.items() if key not in kept}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stdout + done.stderr
    assert done.returncode == status, told
    return told


def test_readme__is_short() -> None:
    assert len((ROOT / "README.rst").read_text().splitlines()) <= 150


def test_readme__project_passes_the_checks(project: Path) -> None:
    told = run(project, "manage.py", "check")
    assert set(re.findall(r"async_reply\.[EW]\d+", told)) == {"async_reply.W103"}


def test_readme__project_passes_its_own_test(project: Path) -> None:
    assert "OK" in run(project, "manage.py", "test", "reports")


def test_readme__without_the_celery_app_a_check_says_what_to_do(project: Path) -> None:
    package = project / "project" / "__init__.py"
    content = package.read_text()
    package.write_text("")
    try:
        told = run(project, "manage.py", "check", status=1)
    finally:
        package.write_text(content)
    assert "async_reply.E001" in told
    assert "from .celery import app as celery_app" in told
