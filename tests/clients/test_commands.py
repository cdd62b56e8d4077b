"""curl and wget: the pattern from a shell, and downloads that were cut short."""

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

#: Enough that a part of it is a part.
ROWS = 20_000
CONTENT = "".join(exports.batches(ROWS)).encode()
CUT = 100_000


def curl(server: Server, *arguments: str) -> str:
    headers = [part for pair in server.headers.items() for part in ("-H", ": ".join(pair))]
    return run("curl", "-sS", *headers, *arguments)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout


def submitted(server: Server, path: str = "/api/sleeps/", **body: Any) -> dict[str, str]:
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
    """`-L` turns no 302 into a POST, and the status URL is where `Location` says."""
    url = curl(server, "-o", "/dev/null", "-w", "%header{location}", "-d", "seconds=0.5",
               f"{server.url}/api/sleeps/")  # fmt: skip
    with server.http() as http:
        server.wait_for(lambda: http.get(url).status_code == 302)
    assert curl(server, "-L", "--fail", url) == '{"slept":0.5,"value":null}'
    assert [each["status"] for each in server.asked()] == [202, 302, 200]


@pytest.mark.clients(client="curl")
def test_failure__is_an_error_of_the_command(server: Server) -> None:
    url = submitted(server, **sleep(outcome="fail"))["self"]
    with server.http() as http:
        server.wait_for(lambda: http.get(url).status_code == 302)
    with pytest.raises(AssertionError, match="error: 409"):
        # Not a failure that --retry would repeat.
        curl(server, "-L", "--fail", "--retry", "3", url)
    assert [each["status"] for each in server.asked()] == [302, 409]


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
    """`--retry` submits again after Retry-After; the key makes sure that it is one operation."""
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
    path.write_bytes(CONTENT[:CUT])
    curl(server, "--fail", "-L", "-C", "-", "-o", str(path), export)
    assert path.read_bytes() == CONTENT
    assert [(each["status"], each["range"]) for each in server.asked()] == [(206, f"bytes={CUT}-")]


@pytest.mark.clients(client="wget")
def test_success__has_the_name_of_the_file(server: Server, export: str, tmp_path: Path) -> None:
    wget(server, "--content-disposition", "-P", str(tmp_path), export)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [
        (f"{ROWS}-rows.csv", CONTENT)
    ]


@pytest.mark.clients(client="wget")
def test_resume__of_a_download_by_wget(server: Server, export: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(CONTENT[:CUT])
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
    assert [each["status"] for each in server.asked()] == [302, 409]


def wget(server: Server, *arguments: str) -> None:
    headers = [f"--header={name}: {value}" for name, value in server.headers.items()]
    run("wget", "-nv", *headers, *arguments)


@pytest.mark.clients(client="requests")
def test_resume__of_a_download_by_requests(server: Server, export: str) -> None:
    with requests.get(export, headers=server.headers, stream=True) as first:
        begun = next(first.iter_content(CUT))
    more = {"Range": f"bytes={len(begun)}-", "If-Range": first.headers["ETag"]}
    rest = requests.get(export, headers={**server.headers, **more})
    assert (rest.status_code, begun + rest.content) == (206, CONTENT)


@pytest.mark.clients(client="httpx")
def test_resume__of_a_download_by_httpx(server: Server, export: str) -> None:
    with httpx.Client(headers=server.headers, timeout=60) as client:
        sizes = [(start, min(start + CUT, len(CONTENT))) for start in range(0, len(CONTENT), CUT)]
        parts = [
            client.get(export, headers={"Range": f"bytes={start}-{end - 1}"})
            for start, end in sizes
        ]
    assert {part.status_code for part in parts} == {206}
    assert b"".join(part.content for part in parts) == CONTENT
