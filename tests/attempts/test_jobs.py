"""The handle that a job gets: its input, progress, retries and results."""

import io
import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from async_reply import lifecycle, services
from async_reply.attempts import results
from async_reply.attempts.claims import Claim
from async_reply.attempts.jobs import Job
from async_reply.exceptions import OperationCanceled, PayloadError, RetryLater, StorageFailed
from async_reply.files import store
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
    [
        *[(1, 4, 25), (5, 4, 100), (-1, 4, 0), (40, 100, 40), (1, 0, None), (1, None, None)],
        *[(float("nan"), 4, None), (1, float("nan"), None), (float("inf"), 4, None)],
        *[(1, float("inf"), 0), (float("-inf"), 4, None), (1, -4, 0), (10**400, 4, None)],
        *[(1.5, 10**400, None), (Decimal(1), Decimal(4), 25), (Fraction(1, 2), 1, 50)],
        *[(Decimal("NaN"), 4, None), ("1", "4", None), (None, 4, None), (object(), 4, None)],
        *[(True, 1, 100), ([], 4, None), (1, "four", None), (1, Decimal("sNaN"), None)],
    ],
)
def test_progress__is_stored_as_percent(job: Job, done: float, total: Any, expected: Any) -> None:
    job.progress(done, total, "m" * 300)
    row = Operation.objects.get()
    assert (row.progress, len(row.message)) == (expected, 255)


PATHS = ["/a/path", "/srv/data/report 7.csv", "/etc/hostname", "/tmp/", "setup.cfg"]


@pytest.mark.parametrize("text", PATHS)
def test_file__text_that_is_a_path_is_refused(job: Job, text: str) -> None:
    with pytest.raises(PayloadError, match=r"pass Path\(…\)"):
        job.file(text, name="report.csv")
    row = job.file(text.encode(), name="report.csv").file
    assert row is not None
    assert row.size == len(text)


@pytest.mark.parametrize(
    "text", ["", "a;b\n/c", "/", "/* css */", "//x/y", "x" * 5000, "\x00", "a/b"]
)
def test_file__any_other_text_is_stored(job: Job, text: str) -> None:
    row = job.file(text, name="report.csv").file
    assert row is not None
    assert row.size == len(text)


def test_track__counts_items(job: Job) -> None:
    items = job.track(["a", "b"], description="Page")
    progress = [(item, Operation.objects.get().progress) for item in items]
    assert progress == [("a", 0), ("b", 50)]
    assert Operation.objects.get().message == "Page 2 of 2"
    assert list(job.track(iter("xy"))) == ["x", "y"]
    assert Operation.objects.get().message == "2"


@pytest.mark.parametrize("sort", ["bytes", "text", "path", "open", "chunks"])
def test_file__from_bytes_text_path_file_and_iterable(job: Job, tmp_path: Path, sort: str) -> None:
    path = tmp_path / "x"
    path.write_bytes("é1".encode())
    with path.open("rb") as stream:
        contents: dict[str, Any] = {
            "bytes": "é1".encode(),
            "text": "é1",
            "path": path,
            "open": stream,
            "chunks": iter(["é", b"1"]),
        }
        result = job.file(contents[sort], name="../r.txt", content_type="text/plain")
    row = result.file
    assert row is not None
    assert (row.name, row.size, row.file.read()) == ("r.txt", 3, "é1".encode())
    assert re.search(rf"{job.id}/1/[0-9a-f]{{8}}-r\.txt$", str(row.file.name))
    row.file.close()
    assert not OperationFile.objects.filter(role="result").exists()


def test_created__is_a_route(job: Job) -> None:
    assert job.created("thing", 7).location == {"route": "thing", "args": [7], "kwargs": {}}
    assert job.created("thing", number=7).location == {
        "route": "thing",
        "args": [],
        "kwargs": {"number": 7},
    }


@pytest.mark.parametrize(
    "url",
    ["/relative", "//evil.example", "https://evil.example/", "javascript:alert(1)", "ftp://x/"],
)
def test_redirect__only_to_allowed_hosts(job: Job, url: str) -> None:
    with pytest.raises(ValueError, match="REDIRECT_HOSTS"):
        job.redirect(url)


def test_to_result__returns_a_result_as_it_is() -> None:
    result = results.JobResult(value=1)
    assert results.to_result(result) is result


class Pipe(io.RawIOBase):
    """A stream that can be read once, like an HTTP response."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._rest.readinto(buffer)


def written(stream: IO[str]) -> IO[str]:
    """The stream at its end, where csv.writer leaves it."""
    stream.write("é1")
    return stream


@pytest.mark.parametrize("sort", ["StringIO", "text file", "pipe", "BytesIO at its end"])
def test_file__from_any_stream(job: Job, tmp_path: Path, sort: str) -> None:
    with (tmp_path / "x").open("w+", encoding="utf-8") as opened:
        sorts: dict[str, Callable[[], Any]] = {
            "StringIO": lambda: written(io.StringIO()),
            "text file": lambda: written(opened),
            "pipe": lambda: Pipe("é1".encode()),
            "BytesIO at its end": lambda: io.BytesIO("é1".encode()),
        }
        content = sorts[sort]()
        if isinstance(content, io.BytesIO):
            content.read()
        row = job.file(content, name="r.txt").file
    assert row is not None
    with row.file.open("rb") as stored:
        assert (row.size, stored.read()) == (3, "é1".encode())


@pytest.mark.parametrize(
    ("message", "expected"),
    [("a\x00b", r"a\x00b"), ("\ud800", r"\ud800"), ("\x00" * 255, (r"\x00" * 64)[:255])],
)
def test_progress__escapes_messages_that_databases_refuse(
    job: Job, message: str, expected: str
) -> None:
    job.progress(1, 2, message)
    assert Operation.objects.get().message == expected


@pytest.mark.parametrize("call", ["progress", "check_canceled", "track"])
def test_job__hears_of_a_cancel_at_each_call(job: Job, call: str) -> None:
    services.cancel(Operation.objects.get())
    calls: dict[str, Callable[[], Any]] = {
        "progress": lambda: job.progress(1),
        "check_canceled": job.check_canceled,
        "track": lambda: list(job.track([1])),
    }
    with pytest.raises(OperationCanceled):
        calls[call]()


def test_track__of_an_empty_list(job: Job) -> None:
    assert list(job.track([])) == []
    assert Operation.objects.get().progress is None


def test_retry__raises_with_the_delay(job: Job) -> None:
    with pytest.raises(RetryLater) as raised:
        job.retry(after=7)
    assert raised.value.after == 7
    with pytest.raises(RetryLater) as raised:
        job.retry(after=timedelta(minutes=1))
    assert raised.value.after == 60


@pytest.mark.parametrize(
    ("after", "error"),
    [
        ("7", TypeError),
        (True, TypeError),
        (-1, ValueError),
        (timedelta(seconds=-1), ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (1e12, ValueError),
        (10**400, ValueError),
    ],
)
def test_retry__refuses_an_impossible_delay(job: Job, after: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="seconds"):
        job.retry(after=after)


def test_input__closes_the_first_file_when_the_second_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uploads = {name: SimpleUploadedFile(name, b"x") for name in "ab"}
    operation = services.submit(echo, input=uploads)
    job = Job(Operation.objects.get(pk=operation.pk), Claim(operation, inline=True))
    open_file = store.opened_for_reading
    handles: list[Any] = []

    def fail_at_the_second(row: OperationFile) -> Any:
        if handles:
            raise StorageFailed
        handles.append(open_file(row))
        return handles[0]

    monkeypatch.setattr(store, "opened_for_reading", fail_at_the_second)
    with pytest.raises(StorageFailed):
        job.input  # noqa: B018 it is read
    assert handles[0].closed


def test_close__does_not_read_the_input(job: Job) -> None:
    job.close()
    assert "input" not in vars(job)


def test_close__files_that_the_job_has_moved(job: Job) -> None:
    handle = job.input["a"]["b"]
    job.input["list"] = [1, handle]
    del job.input["a"]
    job.close()
    assert handle.closed


def test_file__refuses_a_content_type_that_is_not_a_media_type(job: Job) -> None:
    """No response could carry it."""
    with pytest.raises(PayloadError):
        job.file(b"x", name="x", content_type="text/csv\r\nSet-Cookie: a=b")
