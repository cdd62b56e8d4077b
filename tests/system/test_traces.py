"""Real processes trace an operation whose worker process is killed."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.stacks.stack import Stack, follow, prepared, wait_until

pytest.importorskip("opentelemetry.sdk", reason="needs the package opentelemetry-sdk")

pytestmark = [pytest.mark.system, pytest.mark.slow]

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
FIELDS = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}


def spans(stack: Stack) -> list[dict[str, Any]]:
    lines = (stack.folder / "spans.jsonl").read_text().splitlines()
    return sorted(map(json.loads, lines), key=lambda span: span["start_time"])


def test_trace__goes_on_after_a_kill_and_a_failure_is_logged_once(tmp_path: Path) -> None:
    with prepared(
        tmp_path, database="sqlite", broker="files", settings="tests.project.traced", lease=2
    ) as stack:
        worker = stack.start_worker()
        with stack.client() as client:
            broken = client.post("/breakdowns/", json={})
            accepted = client.post("/waits/", json={"calls": False}, headers=FIELDS)
            line = re.compile(f"id={accepted.headers['Operation-Id']} .* claimed .*/(\\d+)-")
            wait_until(lambda: line.search(worker.log.read_text()) is not None, seconds=60)
            claimed = line.search(worker.log.read_text())
            assert claimed is not None
            os.kill(int(claimed[1]), signal.SIGKILL)
            result = follow(client, accepted.headers["Location"], seconds=90)
            assert result.json() == 2
            assert follow(client, broken.headers["Location"]).status_code == 409
        stack.stop()
        log, written = worker.log.read_text(), spans(stack)
    assert "lost attempt=1" in log
    # One line says that a job failed, with its traceback, and none of Celery's.
    assert log.count("ERROR async_reply Operation") == 1
    assert log.count("\nZeroDivisionError: a secret of the server\n") == 1
    written = [span for span in written if span["context"]["trace_id"] == f"0x{TRACE_ID}"]
    assert [span["name"] for span in written if span["name"] != "process celery"] == [
        "submit celery",
        "publish celery",
        "publish celery",
    ]
    attempts = [span["attributes"] for span in written if span["name"] == "process celery"]
    assert [
        (span["async_reply.attempt"], span["async_reply.event"], span.get("error.type"))
        for span in attempts
    ] == [(1, "lost", "worker-lost"), (2, "finished", None)]
