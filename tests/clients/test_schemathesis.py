"""schemathesis: valid and invalid requests, made from the demo's OpenAPI schema."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.server import need
from tests.stacks.stack import Stack, prepared

need("schemathesis")
need("drf_spectacular", extra="spectacular")

pytestmark = pytest.mark.clients

CONFIG = Path(__file__).with_name("schemathesis.toml")
PHASES = ("Examples", "Coverage", "Fuzzing", "Stateful")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack for this test only, because schemathesis submits sleeps of a day."""
    with prepared(
        tmp_path, database="sqlite", broker="files", settings="demo_project.settings", lease=5
    ) as running:
        running.start_worker()
        yield running


def test_schemathesis__finds_nothing(stack: Stack, tmp_path: Path) -> None:
    """All phases and checks run, except those that the configuration excludes by name."""
    process = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"),
            f"http://127.0.0.1:{stack.port}/api/schema/",
            *("-H", "Authorization: Token demo", "--seed", "1", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert [phase for phase in PHASES if phase not in process.stdout] == []
