import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from async_reply.exceptions import StorageFailed
from async_reply.files import streams
from tests.files.content import largest_file, upload

pytestmark = pytest.mark.usefixtures("folder")


def test_digest__rewinds_before_and_after() -> None:
    content = b"x" * (streams.CHUNK_BYTES + 1)
    stream = io.BytesIO(content)
    stream.read(10)
    assert streams.digest(stream) == (len(content), hashlib.sha256(content).hexdigest())
    assert stream.tell() == 0


def test_spool__full_disk_is_storage_failed_and_errors_of_the_job_are_raised() -> None:
    def lines() -> Iterator[bytes]:
        yield b"x" * 10_000
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        streams.spool(lines())
    with largest_file(4096), pytest.raises(StorageFailed) as raised:
        streams.spool(lines())
    assert isinstance(raised.value.__cause__, OSError)


def test_spool__deletes_its_file(settings: Settings, tmp_path: Path) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    with largest_file(4096), pytest.raises(StorageFailed):
        streams.spool([b"x" * 10_000])
    with streams.spool([b"x" * 10_000]) as stream:
        assert (stream.size, len(os.listdir(tmp_path))) == (10_000, 1)
    assert os.listdir(tmp_path) == []


def test_spool__takes_text_and_bytes() -> None:
    with streams.spool(["é", b"\xff"]) as stream:
        assert stream.read() == b"\xc3\xa9\xff"


@pytest.mark.parametrize(
    ("content", "expected"),
    [(io.BytesIO(), True), (io.StringIO(), False), ([], False), (upload(), True)],
)
def test_is_stream(content: Any, expected: bool) -> None:
    assert streams.is_stream(content) is expected
