"""curl and wget: the pattern from a shell. Also libraries that resume a download."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which
from typing import Any

import httpx
import pytest

from demo_project import exports
from tests.clients.server import Server, lacks, need, sleep

for command in ("curl", "wget"):
    if which(command) is None:
        lacks(f"needs {command}")
requests = need("requests")

#: The rows of a file that is much longer than its first part.
ROWS = 20_000
CONTENT = "".join(exports.batches(ROWS)).encode()
#: The bytes of the first part.
CUT_BYTES = 100_000


def curl(server: Server, *arguments: str) -> str:
    headers = [part for pair in server.headers.items() for part in ("-H", ": ".join(pair))]
    return run("curl", "-sS", *headers, *arguments)


def run(*command: str) -> str:
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert process.returncode == 0, (process.returncode, process.stdout, process.stderr)
    return process.stdout


def submitted(server: Server, path: str = "/api/sleeps/", **body: Any) -> dict[str, str]:
    """Submit an operation; return the links of its document."""
    with server.http() as http:
        return dict(http.post(path, json=body).json()["links"])


@pytest.fixture(scope="module")
def export(site: Server) -> str:
    """The URL of a CSV result."""
    links = submitted(site, "/api/exports/", rows=ROWS)
    with site.http() as http:
        site.wait_for(lambda: http.get(links["self"]).status_code == 302)
    return links["result"]


@pytest.mark.clients(client="curl")
def test_success__is_followed_to_the_result(server: Server) -> None:
    """The status URL is in `Location`. With `-L`, curl follows the 302 by GET."""
    url = curl(server, "-o", "/dev/null", "-w", "%header{location}", "-d", "seconds=0.5",
               f"{server.url}/api/sleeps/")  # fmt: skip
    with server.http() as http:
        server.wait_for(lambda: http.get(url).status_code == 302)
    assert curl(server, "-L", "--fail", url) == '{"slept":0.5,"value":null}'
    assert [entry["status"] for entry in server.asked()] == [202, 302, 200]


@pytest.mark.clients(client="curl")
def test_failure__is_an_error_of_curl(server: Server) -> None:
    url = submitted(server, **sleep(outcome="fail"))["self"]
    with server.http() as http:
        server.wait_for(lambda: http.get(url).status_code == 302)
    with pytest.raises(AssertionError, match="error: 409"):
        # --retry does not repeat a 409.
        curl(server, "-L", "--fail", "--retry", "3", url)
    assert [entry["status"] for entry in server.asked()] == [302, 409]


@pytest.mark.clients(client="curl")
def test_cancel(server: Server) -> None:
    links = submitted(server, **sleep(600, steps=6000))
    with server.http() as http:
        server.wait_for(lambda: http.get(links["monitor"]).json()["status"] == "running")
        assert '"status":"canceling"' in curl(server, "--fail", "-X", "POST", links["cancel"])
        server.wait_for(lambda: http.get(links["self"]).status_code == 302)
    assert "operation-canceled" in curl(server, "-L", links["self"])


@pytest.mark.clients(client="curl")
def test_outage__is_waited_out(server: Server) -> None:
    """`--retry` submits again after Retry-After. The key keeps it one operation."""
    with ThreadPoolExecutor(1) as pool:
        with server.outage():
            answer = pool.submit(
                curl, server, "--fail", "--retry", "10", "-d", "seconds=0",
                "-H", f"Idempotency-Key: {server.client}", f"{server.url}/api/sleeps/",
            )  # fmt: skip
            server.wait_for(lambda: server.asked(status=503))
        assert '"status":"pending"' in answer.result(timeout=120)
    assert len(server.asked(status=202)) == 1


@pytest.mark.clients(client="curl")
def test_resume__of_a_download(server: Server, export: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(CONTENT[:CUT_BYTES])
    curl(server, "--fail", "-L", "-C", "-", "-o", str(path), export)
    assert path.read_bytes() == CONTENT
    assert [(entry["status"], entry["range"]) for entry in server.asked()] == [
        (206, f"bytes={CUT_BYTES}-")
    ]


@pytest.mark.clients(client="wget")
def test_success__is_saved_under_the_name_of_the_file(
    server: Server, export: str, tmp_path: Path
) -> None:
    wget(server, "--content-disposition", "-P", str(tmp_path), export)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [
        (f"{ROWS}-rows.csv", CONTENT)
    ]


@pytest.mark.clients(client="wget")
def test_resume__of_a_download_by_wget(server: Server, export: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(CONTENT[:CUT_BYTES])
    wget(server, "-c", "-O", str(path), export)
    assert path.read_bytes() == CONTENT
    assert server.asked()[-1]["status"] == 206


@pytest.mark.clients(client="wget")
def test_failure__is_an_error_of_wget(server: Server) -> None:
    links = submitted(server, **sleep(outcome="fail"))
    with server.http() as http:
        server.wait_for(lambda: http.get(links["self"]).status_code == 302)
    with pytest.raises(AssertionError, match="409"):
        wget(server, "-O", "/dev/null", links["self"])
    assert [entry["status"] for entry in server.asked()] == [302, 409]


def wget(server: Server, *arguments: str) -> None:
    headers = [f"--header={name}: {value}" for name, value in server.headers.items()]
    run("wget", "-nv", *headers, *arguments)


@pytest.mark.clients(client="requests")
def test_resume__of_a_download_by_requests(server: Server, export: str) -> None:
    with requests.get(export, headers=server.headers, stream=True) as first:
        beginning = next(first.iter_content(CUT_BYTES))
    more = {"Range": f"bytes={len(beginning)}-", "If-Range": first.headers["ETag"]}
    rest = requests.get(export, headers={**server.headers, **more})
    assert (rest.status_code, beginning + rest.content) == (206, CONTENT)


@pytest.mark.clients(client="httpx")
def test_resume__of_a_download_by_httpx(server: Server, export: str) -> None:
    with httpx.Client(headers=server.headers, timeout=60) as client:
        sizes = [
            (start, min(start + CUT_BYTES, len(CONTENT)))
            for start in range(0, len(CONTENT), CUT_BYTES)
        ]
        parts = [
            client.get(export, headers={"Range": f"bytes={start}-{end - 1}"})
            for start, end in sizes
        ]
    assert {part.status_code for part in parts} == {206}
    assert b"".join(part.content for part in parts) == CONTENT
