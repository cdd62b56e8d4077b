"""Reads streams of bytes for uploads and results: digest, chunks, a copy on disk."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeAlias

from django.core.files import File
from django.core.files.uploadedfile import TemporaryUploadedFile

from async_reply.exceptions import StorageFailed

CHUNK_BYTES = 64 * 1024

#: A seekable stream of bytes.
Stream: TypeAlias = "IO[bytes] | File[bytes]"


def digest(stream: Stream) -> tuple[int, str]:
    """Size in bytes and SHA-256 in hex of a seekable stream. Rewinds it before and after."""
    stream.seek(0)
    size, sha256 = 0, hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        size += len(chunk)
        sha256.update(chunk)
    stream.seek(0)
    return size, sha256.hexdigest()


def is_stream(content: Any) -> bool:
    """Whether `content` is a stream of bytes that can be read twice."""
    return _is_seekable(content) and content.read(0) == b""


def _is_seekable(content: Any) -> bool:
    return hasattr(content, "seekable") and bool(content.seekable())


def chunks(stream: Any) -> Iterator[Any]:
    """The content of a stream of bytes or text: from its start if it is seekable, else the rest."""
    if _is_seekable(stream):
        stream.seek(0)
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def spool(chunks: Iterable[bytes | str]) -> TemporaryUploadedFile:
    """A file on disk with these `chunks`, text as UTF-8; StorageFailed if the disk is full.

    The file is in Django's folder for temporary files: FileSystemStorage moves files from there
    and does not copy them.
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
    """Turn any error of a storage into StorageFailed: storages raise what they like."""
    try:
        yield
    except Exception as error:
        raise StorageFailed(f"The storage failed to {action} a file.") from error
