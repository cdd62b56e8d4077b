"""openapi-python-client: a client that is generated from the demo's OpenAPI schema."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.clients.server import need
from tests.stacks.stack import Stack, prepared

need("openapi_python_client")
need("drf_spectacular", extra="spectacular")

pytestmark = pytest.mark.clients

PACKAGE = "generated_demo"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with prepared(
        tmp_path, database="sqlite", broker="files", settings="demo_project.settings", lease=5
    ) as running:
        running.start_worker()
        yield running


@pytest.fixture
def package(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the generated package, which can be imported."""
    config = tmp_path / "config.yaml"
    config.write_text("post_hooks: []\nhttp_timeout: 60\n")
    subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"),
            *("--url", f"http://127.0.0.1:{stack.port}/api/schema/"),
            *("--output-path", str(tmp_path / PACKAGE), "--config", str(config)),
        ],
        check=True,
        timeout=120,
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield PACKAGE
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_generated_client__runs_a_job_to_its_end(stack: Stack, package: str) -> None:
    def api(name: str) -> Any:
        return import_module(f"{package}.api.{name}")

    models = import_module(f"{package}.models")
    make = import_module(f"{package}.client").AuthenticatedClient
    url = f"http://127.0.0.1:{stack.port}"
    with make(url, token="demo", prefix="Token", timeout=60) as client:
        run_a_sleep(client, models, api)


def run_a_sleep(client: Any, models: Any, api: Callable[[str], Any]) -> None:
    """Submit a sleep, wait for its end, and read its status and its result."""
    # The generated function sends a form, the last of the formats that the view takes.
    body = models.SleepRequestRequest(seconds=0.2, steps=1, value=json.dumps("done"))
    accepted = api("sleeps.sleeps_create").sync_detailed(client=client, body=body)
    assert accepted.status_code == 202, accepted.content
    receipt = accepted.parsed
    assert receipt.status == models.OperationStatus.PENDING

    operation = api("operations.operation_monitor").sync(
        receipt.id, client=client, prefer="wait=50"
    )
    assert operation.status == models.OperationStatus.SUCCEEDED
    seen = api("operations.operation_status").sync_detailed(receipt.id, client=client)
    assert (seen.status_code, seen.parsed.id) == (302, receipt.id)
    result = api("operations.operation_result").sync_detailed(receipt.id, client=client)
    assert (result.status_code, b'"value":"done"' in result.content) == (200, True)
