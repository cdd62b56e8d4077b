"""Files over real HTTP, from a real worker: whole, in ranges, and imported."""

import hashlib
import os
import signal

import pytest

from demo_project import exports
from tests.stacks.stack import Stack, follow, wait_until

pytestmark = pytest.mark.system

ROWS = 20_000


@pytest.fixture(scope="module")
def export(stack: Stack) -> tuple[str, bytes]:
    """The result URL of an export, and the expected content."""
    with stack.client() as client:
        accepted = client.post("/api/exports/", json={"rows": ROWS})
        links = accepted.json()["links"]
        wait_until(lambda: client.get(links["monitor"]).json()["status"] == "succeeded")
    return links["result"], "".join(exports.batches(ROWS)).encode()


def test_export__whole(stack: Stack, export: tuple[str, bytes]) -> None:
    url, content = export
    with stack.client() as client:
        response = client.get(url)
        head = client.head(url)
    assert response.content == content
    assert response.headers["ETag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert int(response.headers["Content-Length"]) == len(content)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(content))


def test_export__resumed_on_one_connection(stack: Stack, export: tuple[str, bytes]) -> None:
    """Each answer has the length that it states, so the next one on the connection is intact."""
    url, content = export
    half = len(content) // 2
    with stack.client() as client:
        tag = client.head(url).headers["ETag"]
        first = client.get(url, headers={"Range": f"bytes=0-{half - 1}"})
        rest = client.get(url, headers={"Range": f"bytes={half}-", "If-Range": tag})
        beyond = client.get(url, headers={"Range": f"bytes={len(content)}-"})
        unchanged = client.get(url, headers={"If-None-Match": tag})
        last = client.get(url, headers={"Range": "bytes=-1"})
    statuses = [answer.status_code for answer in (first, rest, beyond, unchanged, last)]
    assert statuses == [206, 206, 416, 304, 206]
    assert first.content + rest.content == content
    assert beyond.headers["Content-Range"] == f"bytes */{len(content)}"
    assert (unchanged.content, last.content) == (b"", b"\n")


@pytest.mark.slow
def test_dataset__is_imported_although_its_worker_is_killed(
    stack: Stack, export: tuple[str, bytes]
) -> None:
    content = export[1]
    with stack.client() as client, stack.client("other") as other:
        files = {"file": ("export.csv", content)}
        accepted = client.post("/api/datasets/", files=files)
        assert accepted.status_code == 202
        status = accepted.headers["Location"]
        monitor = accepted.headers["Operation-Location"]
        wait_until(lambda: client.get(monitor).json()["status"] != "pending")
        killed = stack.processes.pop()
        os.killpg(killed.popen.pid, signal.SIGKILL)
        killed.popen.wait()
        stack.start_worker()
        result = follow(client, status, seconds=90)
        assert result.status_code == 302
        url = result.headers["Location"]
        dataset = client.get(url).json()
        assert other.get(url).status_code == 404
    assert (dataset["name"], dataset["rows"]) == ("export.csv", ROWS)
    assert dataset["columns"] == exports.HEADER.strip().split(",")
    output = stack.manage(
        "shell",
        "-c",
        "from demo_project.models import DatasetRow;"
        f"print(DatasetRow.objects.filter(dataset='{dataset['id']}').count())",
    )
    assert output.split()[-1] == str(ROWS)


def test_dataset__bad_file_says_why(stack: Stack) -> None:
    with stack.client() as client:
        files = {"file": ("x.csv", b"a,b\n1,2\n3\n")}
        accepted = client.post("/api/datasets/", files=files)
        result = follow(client, accepted.headers["Location"])
    assert (result.status_code, result.json()["code"]) == (422, "csv-invalid")
    assert "Line 3" in result.json()["detail"]
