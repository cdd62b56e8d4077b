"""Writes, opens and deletes files of operations in a Django storage, for services and jobs."""

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

MAX_NAME_BYTES = 100


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

    The caller saves the row later. A process that dies in between leaves an orphan, and never a
    row without its file. The storage may move an upload that is on disk instead of copying it.
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
    """Write the bytes, and return their name in the storage; deletes a file written in part."""
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
    kept = re.sub(r"[^-\w.]", "", last).encode()[-MAX_NAME_BYTES:]
    return kept.decode("utf-8", "ignore").lstrip(".") or "file"


def delete(rows: Iterable[OperationFile]) -> None:
    """Delete the files of `rows`. One that the storage does not delete is logged: an orphan."""
    for row in rows:
        _delete(row.file.storage, str(row.file.name), row)


def _delete(storage: Storage, path: str, row: OperationFile) -> None:
    try:
        storage.delete(path)
    except Exception:  # noqa: BLE001 storages fail in as many ways as there are
        logger.warning("Operation id=%s file=%s not removed", row.operation_id, path)
