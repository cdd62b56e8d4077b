"""Files of any size need little memory in real servers and a real worker, as Linux measures it.

The default suite uses megabytes. `make big` uses a result of 2 GiB and an upload of 1 GiB.
"""

import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.stacks.stack import Stack, wait_until
from tests.system.memory import MIB, Peaks

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.parametrize("stack", ["sqlite+files"], indirect=True, scope="module"),
]

# One chunk, one batch of rows, and memory that the allocator keeps. It does not depend on the size.
MAX_GROWTH = 48 * MIB
ROW_BYTES = 37  # of an exported row, roughly
VALUE_BYTES = 64 * 1024

Tell = Callable[[str], None]


def sizes(small: int, big: int) -> pytest.MarkDecorator:
    """A test in both sizes."""
    return pytest.mark.parametrize(
        "size", [small, pytest.param(big, marks=pytest.mark.big)], ids=["small", "big"]
    )


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Print a figure for the person who runs the test."""

    def write(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n    {line}")

    return write


def database_size(stack: Stack) -> int:
    return sum(path.stat().st_size for path in stack.folder.glob("db.sqlite3*"))


@pytest.fixture(scope="module")
def servers(stack: Stack) -> list[str]:
    """URLs of a WSGI and an ASGI server that have served some requests, so imports are done."""
    urls = [f"http://127.0.0.1:{port}" for port in (stack.port, stack.start_asgi())]
    with stack.client() as client:
        for url in urls * 4:
            export(client, url, rows=1)
            files = {"file": ("x.csv", b"a\n1\n")}
            client.post(f"{url}/api/csv-profiles/", files=files).raise_for_status()
    return urls


def export(client: httpx.Client, server: str, *, rows: int) -> str:
    """Export and wait; the path of the result."""
    links = client.post(f"{server}/api/exports/", json={"rows": rows}).json()["links"]
    return finish(client, links, seconds=60 + rows / 100_000)


def finish(client: httpx.Client, links: dict[str, str], *, seconds: float) -> str:
    """Wait until the operation has succeeded; the path of its result."""
    done = {"succeeded", "failed"}
    wait_until(lambda: client.get(links["monitor"]).json()["status"] in done, seconds=seconds)
    assert client.get(links["monitor"]).json()["status"] == "succeeded"
    return httpx.URL(links["result"]).path


@sizes(64 * MIB, 2048 * MIB)
def test_result__enters_neither_memory_nor_database(
    stack: Stack, servers: list[str], size: int, tell: Tell
) -> None:
    peaks, size_before = Peaks(stack.processes), database_size(stack)
    started = time.monotonic()
    with stack.client() as client:
        path = export(client, servers[0], rows=size // ROW_BYTES * 11 // 10)
        tell(f"made in {time.monotonic() - started:.1f} s; {shown(peaks.growth())}")
        for server in servers:
            check_download(client, server + path, size, tell)
        tell(f"downloaded; {shown(peaks.growth())}")
    assert max(peaks.growth().values()) < MAX_GROWTH
    assert database_size(stack) - size_before < 8 * MIB


def check_download(client: httpx.Client, url: str, size: int, tell: Tell) -> None:
    """Download the file and its end. Both match the entity tag."""
    started = time.monotonic()
    digest, length = hashlib.sha256(), 0
    with client.stream("GET", url) as response:
        assert response.status_code == 200
        for chunk in response.iter_raw(MIB):
            digest.update(chunk)
            length += len(chunk)
    assert response.headers["ETag"] == f'"{digest.hexdigest()}"'
    assert int(response.headers["Content-Length"]) == length >= size
    last = client.get(url, headers={"Range": f"bytes={length - 100}-"})
    assert (last.status_code, len(last.content), last.content[-1:]) == (206, 100, b"\n")
    tell(f"{length / MIB:,.0f} MiB in {time.monotonic() - started:.1f} s from {url[:21]}")


@pytest.fixture
def upload(tmp_path: Path, size: int) -> Iterator[Path]:
    """A CSV file of few long rows."""
    path = tmp_path / "upload.csv"
    with path.open("w") as file:
        file.write("number,text\n")
        for number in range(size // VALUE_BYTES):
            file.write(f"{number},{'x' * VALUE_BYTES}\n")
    yield path
    path.unlink()


@sizes(64 * MIB, 1024 * MIB)
def test_upload__reaches_its_job_without_entering_memory(
    stack: Stack, servers: list[str], size: int, upload: Path, tell: Tell
) -> None:
    for server in servers:
        peaks, size_before = Peaks(stack.processes), database_size(stack)
        started = time.monotonic()
        with stack.client() as client, upload.open("rb") as file:
            client.timeout = httpx.Timeout(600)
            accepted = client.post(f"{server}/api/csv-profiles/", files={"file": file})
            assert accepted.status_code == 202
            tell(f"accepted in {time.monotonic() - started:.1f} s; {shown(peaks.growth())}")
            links = accepted.json()["links"]
            profile = client.get(server + finish(client, links, seconds=60 + size / MIB)).json()
            tell(f"done in {time.monotonic() - started:.1f} s; {shown(peaks.growth())}")
            assert client.delete(links["self"]).status_code == 204
        assert (profile["rows"], profile["columns"][1]["distinct"]) == (size // VALUE_BYTES, 1)
        assert max(peaks.growth().values()) < MAX_GROWTH
        assert database_size(stack) - size_before < 8 * MIB


def shown(growth: dict[str, int]) -> str:
    return ", ".join(f"{name} +{size / MIB:.0f} MiB" for name, size in sorted(growth.items()))
