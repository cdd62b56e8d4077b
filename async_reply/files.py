"""Files in and out of operations, through any Django storage."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any, TypeAlias

from django.core.files import File
from django.core.files.storage import Storage
from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile

from async_reply.exceptions import PayloadError, StorageFailed
from async_reply.logs import logger
from async_reply.models import Operation, OperationFile

CHUNK = 64 * 1024
LONGEST_PATH = 255
LONGEST_NAME = 100

#: A seekable stream of bytes.
Stream: TypeAlias = "IO[bytes] | File[bytes]"
#: A dotted path in an operation's input, and the file that is read there.
Opened: TypeAlias = tuple[str, Any]


def take(value: Any, path: str = "") -> tuple[Any, dict[str, "UploadedFile[Any]"]]:
    """Split `value` into JSON-able parts and the uploads found in it, by their dotted path.

    Where an upload was, its name stays behind. Raises PayloadError for a path that is too long.
    """
    if isinstance(value, UploadedFile):
        if len(path) > LONGEST_PATH:
            raise PayloadError(f"A file's field has a name of more than {LONGEST_PATH} characters.")
        return value.name, {path: value}
    if isinstance(value, dict):
        items: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return value, {}
    parts: list[tuple[Any, Any]] = []
    uploads: dict[str, UploadedFile[Any]] = {}
    for key, item in items:
        step = _escape(str(key))
        part, found = take(item, f"{path}.{step}" if path else step)
        parts.append((key, part))
        uploads |= found
    plain = dict(parts) if isinstance(value, dict) else [part for _, part in parts]
    return plain, uploads


def put_back(value: dict[str, Any], opened: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The reverse of `take`: `value` with (path, file) in the places they were taken from."""
    for path, handle in opened:
        *parents, last = map(_unescape, path.split("."))
        place: Any = value
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place[key]
        place[int(last) if isinstance(place, list) else last] = handle
    return value


def _escape(key: str) -> str:
    """A client chooses the keys of a dict of files: dots in them do not part the path."""
    return key.replace("~", "~0").replace(".", "~1")


def _unescape(step: str) -> str:
    return step.replace("~1", ".").replace("~0", "~")


def digest(stream: Stream) -> tuple[int, str]:
    """Size in bytes and SHA-256 in hex of a seekable stream, which is left at its start."""
    stream.seek(0)
    size, sha256 = 0, hashlib.sha256()
    while chunk := stream.read(CHUNK):
        size += len(chunk)
        sha256.update(chunk)
    stream.seek(0)
    return size, sha256.hexdigest()


def store(
    operation: Operation,
    content: Stream,
    *,
    role: OperationFile.Role,
    name: str,
    field: str = "",
    content_type: str = "",
    attempt: int = 0,
) -> OperationFile:
    """Write `content` to the storage and return its unsaved row; raises StorageFailed.

    Bytes first, row later: whatever dies in between leaves an orphan in a day's folder and
    never a row without its bytes. An upload that lies on disk is moved where the storage can.
    """
    size, sha256 = digest(content)
    row = OperationFile(
        operation_id=operation.pk,
        role=role,
        field=field,
        name=safe_name(name),
        content_type=content_type,
        size=size,
        sha256=sha256,
    )
    row.attempt = attempt
    row.file = _save(row, content if isinstance(content, File) else File(content))
    return row


def _save(row: OperationFile, content: "File[Any]") -> str:
    """The name under which the storage keeps `content`; half a file does not stay behind."""
    field = row.file.field
    path = field.generate_filename(row, row.name)
    try:
        with _told("store"):
            return str(field.storage.save(path, content, max_length=field.max_length))
    except StorageFailed:
        _delete(field.storage, path, row)
        raise


@contextmanager
def _told(action: str) -> Iterator[None]:
    """Whatever a storage raises, as the one exception that says it was the storage."""
    try:
        yield
    except Exception as error:
        raise StorageFailed(f"The storage failed to {action} a file.") from error


def opened_for_reading(row: OperationFile) -> "File[Any]":
    """The file of `row`, open for reading bytes; raises StorageFailed."""
    with _told("open"):
        row.file.open("rb")
    return row.file


def safe_name(name: str) -> str:
    """The last part of `name`: letters, digits, `-`, `_` and `.`, of at most 100 bytes."""
    last = PurePosixPath(name.replace("\\", "/")).name.strip().replace(" ", "_")
    kept = re.sub(r"[^-\w.]", "", last).encode()[-LONGEST_NAME:]
    return kept.decode("utf-8", "ignore").lstrip(".") or "file"


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
            with _told("spool"):
                temporary.write(data)
        with _told("spool"):
            temporary.flush()
    except BaseException:
        temporary.close()
        raise
    temporary.size = temporary.tell()
    temporary.seek(0)
    return temporary


def opened(operation: Operation) -> list[Opened]:
    """Each file that came with the request, open for reading bytes: all of them or none."""
    rows = OperationFile.objects.filter(operation=operation, role=OperationFile.Role.INPUT)
    found: list[Opened] = []
    try:
        for row in rows:
            found.append((row.field, opened_for_reading(row)))  # noqa: PERF401 closed if one fails
    except BaseException:
        close(found)
        raise
    return found


def close(opened: Iterable[Opened]) -> None:
    """Close each file; one that a storage does not let go of is logged, and harms nobody."""
    for path, handle in opened:
        try:
            handle.close()
        except Exception:
            logger.warning("Input %s file=%s not closed", path, handle.name, exc_info=True)


def remove(rows: Iterable[OperationFile]) -> None:
    """Remove the bytes of `rows`; what a storage refuses is logged and left to the sweep."""
    for row in rows:
        _delete(row.file.storage, str(row.file.name), row)


def _delete(storage: Storage, path: str, row: OperationFile) -> None:
    try:
        storage.delete(path)
    except Exception:  # noqa: BLE001 storages fail in as many ways as there are
        logger.warning("Operation id=%s file=%s not removed", row.operation_id, path)
