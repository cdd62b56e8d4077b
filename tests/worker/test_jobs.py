from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from async_reply import lifecycle, results, services
from async_reply.heartbeats import Claim
from async_reply.jobs import Job
from async_reply.models import Operation, OperationFile
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db


@pytest.fixture
def job() -> Job:
    operation = services.submit(
        echo,
        input={"a": {"b": SimpleUploadedFile("x.txt", b"x")}, "c": [1]},
        owner="7",
        extra={"k": 1},
    )
    assert lifecycle.claim(operation, worker="w1")
    return Job(operation, Claim(operation, inline=True))


def test_job__knows_its_operation(job: Job) -> None:
    assert job.id == Operation.objects.get().pk
    assert (job.attempt, job.owner, job.extra) == (1, "7", {"k": 1})
    assert (job.input["a"]["b"].read(), job.input["c"]) == (b"x", [1])
    handle = job.input["a"]["b"]
    job.close()
    assert handle.closed


@pytest.mark.parametrize(
    ("done", "total", "expected"),
    [(1, 4, 25), (5, 4, 100), (-1, 4, 0), (40, 100, 40), (1, 0, None), (1, None, None)],
)
def test_progress__is_percent(job: Job, done: float, total: Any, expected: Any) -> None:
    job.progress(done, total, "m" * 300)
    shown = Operation.objects.get()
    assert (shown.progress, len(shown.message)) == (expected, 255)


def test_track__counts_items(job: Job) -> None:
    items = job.track(["a", "b"], description="Page")
    seen = [(item, Operation.objects.get().progress) for item in items]
    assert seen == [("a", 0), ("b", 50)]
    assert Operation.objects.get().message == "Page 2 of 2"
    assert list(job.track(iter("xy"))) == ["x", "y"]
    assert Operation.objects.get().message == "2"


@pytest.mark.parametrize("sort", ["bytes", "text", "path", "open", "chunks"])
def test_file__from_whatever_holds_bytes(job: Job, tmp_path: Path, sort: str) -> None:
    path = tmp_path / "x"
    path.write_bytes("é1".encode())
    with path.open("rb") as stream:
        content = {
            "bytes": "é1".encode(),
            "text": "é1",
            "path": path,
            "open": stream,
            "chunks": iter(["é", b"1"]),
        }[sort]
        outcome = job.file(content, name="../r.txt", content_type="text/plain")
    row = outcome.file
    assert row is not None
    assert (row.name, row.size, row.file.read()) == ("r.txt", 3, "é1".encode())
    assert f"{job.id}/1/r.txt" in str(row.file.name)
    row.file.close()
    assert not OperationFile.objects.filter(role="result").exists()


def test_created__is_a_route(job: Job) -> None:
    assert job.created("thing", 7, x=1).location == {
        "route": "thing",
        "args": [7],
        "kwargs": {"x": 1},
    }


@pytest.mark.parametrize(
    "url",
    ["/relative", "//evil.example", "https://evil.example/", "javascript:alert(1)", "ftp://x/"],
)
def test_redirect__only_to_allowed_hosts(job: Job, url: str) -> None:
    with pytest.raises(ValueError, match="REDIRECT_HOSTS"):
        job.redirect(url)


def test_outcome__passes_through() -> None:
    made = results.Outcome(value=1)
    assert results.outcome(made) is made
