"""Files in and out of operations, through any Django storage."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from django.core.files import File
from django.core.files.storage import Storage

from async_reply.exceptions import StorageFailed
from async_reply.files import streams
from async_reply.files.streams import Stream, storage_errors
from async_reply.logs import logger
from async_reply.models import Operation, OperationFile

LONGEST_NAME = 100


def save(
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
    size, sha256 = streams.digest(content)
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
    row.file = _write(row, content if isinstance(content, File) else File(content))
    return row


def _write(row: OperationFile, content: "File[Any]") -> str:
    """The name under which the storage keeps `content`; half a file does not stay behind."""
    field = row.file.field
    path = field.generate_filename(row, row.name)
    try:
        with storage_errors("store"):
            return str(field.storage.save(path, content, max_length=field.max_length))
    except StorageFailed:
        _delete(field.storage, path, row)
        raise


def opened_for_reading(row: OperationFile) -> "File[Any]":
    """The file of `row`, open for reading bytes; raises StorageFailed."""
    with storage_errors("open"):
        row.file.open("rb")
    return row.file


def safe_name(name: str) -> str:
    """The last part of `name`: letters, digits, `-`, `_` and `.`, of at most 100 bytes."""
    last = PurePosixPath(name.replace("\\", "/")).name.strip().replace(" ", "_")
    kept = re.sub(r"[^-\w.]", "", last).encode()[-LONGEST_NAME:]
    return kept.decode("utf-8", "ignore").lstrip(".") or "file"


def remove(rows: Iterable[OperationFile]) -> None:
    """Remove the bytes of `rows`; what a storage refuses is logged and left to the sweep."""
    for row in rows:
        _delete(row.file.storage, str(row.file.name), row)


def _delete(storage: Storage, path: str, row: OperationFile) -> None:
    try:
        storage.delete(path)
    except Exception:  # noqa: BLE001 storages fail in as many ways as there are
        logger.warning("Operation id=%s file=%s not removed", row.operation_id, path)
