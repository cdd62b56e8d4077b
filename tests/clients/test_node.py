"""@azure/core-lro in Node."""

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.clients.server import Server, lacks, sleep

pytestmark = pytest.mark.clients(client="@azure/core-lro")

SOURCE = Path(__file__).parent / "node"

for command in ("node", "npm"):
    if shutil.which(command) is None:
        lacks(f"needs {command}")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, with the packages that package.json pins."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]
    process = subprocess.run(
        install, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    if process.returncode:
        lacks(f"npm cannot install: {process.stderr[-500:]}")
    return folder


def poll(package: Path, server: Server, body: Any, **more: Any) -> dict[str, Any]:
    """Run the program; return the JSON that it prints."""
    job = {"url": f"{server.url}/api/sleeps/", "headers": server.headers, "body": body, **more}
    process = subprocess.run(
        ["node", "lro.mjs", json.dumps(job)],
        cwd=package,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    report: dict[str, Any] = json.loads(process.stdout)
    return report


def test_success(package: Path, server: Server) -> None:
    report = poll(package, server, sleep(1.5, value={"ä": 1}))
    assert report["value"] == {"slept": 1.5, "value": {"ä": 1}}
    assert report["states"][-1] == "succeeded"
    assert server.asked(status=302) == []


def test_failure__is_an_error_with_the_reason(package: Path, server: Server) -> None:
    report = poll(package, server, sleep(outcome="fail"))
    assert "The sleep was asked to fail." in report["error"]
    assert server.asked(status=409) == []


def test_cancel__ends_the_polling(package: Path, server: Server) -> None:
    report = poll(package, server, sleep(600, steps=6000), cancel=True)
    assert "cancel" in report["error"]


def test_resume__from_a_serialized_state(package: Path, server: Server) -> None:
    report = poll(package, server, sleep(1.5, value=7), interrupt=True)
    assert report["value"] == {"slept": 1.5, "value": 7}
    assert len([entry for entry in server.asked() if entry["method"] == "POST"]) == 1


def test_outage__submits_again_until_the_database_is_back(package: Path, server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        with server.outage():
            report = pool.submit(poll, package, server, sleep(value=7))
            server.wait_for(lambda: server.asked(status=503))
        assert report.result(timeout=120)["value"] == {"slept": 0.0, "value": 7}
