"""Reads streams of bytes: their digest, their chunks, a copy on disk."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeAlias

from django.core.files import File
from django.core.files.uploadedfile import TemporaryUploadedFile

from async_reply.exceptions import StorageFailed

CHUNK = 64 * 1024


#: A seekable stream of bytes.
Stream: TypeAlias = "IO[bytes] | File[bytes]"


def digest(stream: Stream) -> tuple[int, str]:
    """Size in bytes and SHA-256 in hex of a seekable stream, which is left at its start."""
    stream.seek(0)
    size, sha256 = 0, hashlib.sha256()
    while chunk := stream.read(CHUNK):
        size += len(chunk)
        sha256.update(chunk)
    stream.seek(0)
    return size, sha256.hexdigest()


def is_stream(content: Any) -> bool:
    """Whether `content` can be read twice, and is bytes."""
    return _is_seekable(content) and content.read(0) == b""


def _is_seekable(content: Any) -> bool:
    return hasattr(content, "seekable") and bool(content.seekable())


def chunks(stream: Any) -> Iterator[Any]:
    """What a stream of bytes or text holds: all of it where it can be rewound."""
    if _is_seekable(stream):
        stream.seek(0)
    while chunk := stream.read(CHUNK):
        yield chunk


def spool(chunks: Iterable[bytes | str]) -> TemporaryUploadedFile:
    """A file on disk that holds `chunks`, text as UTF-8; raises StorageFailed when it is full.

    In Django's own folder for temporary files, whence its file system storage moves uploads
    instead of copying them.
    """
    temporary = TemporaryUploadedFile("spool", "", 0, None)
    try:
        for chunk in chunks:
            data = chunk.encode() if isinstance(chunk, str) else chunk
            with storage_errors("spool"):
                temporary.write(data)
        with storage_errors("spool"):
            temporary.flush()
    except BaseException:
        temporary.close()
        raise
    temporary.size = temporary.tell()
    temporary.seek(0)
    return temporary


@contextmanager
def storage_errors(action: str) -> Iterator[None]:
    """Whatever a storage raises, as the one exception that says it was the storage."""
    try:
        yield
    except Exception as error:
        raise StorageFailed(f"The storage failed to {action} a file.") from error
