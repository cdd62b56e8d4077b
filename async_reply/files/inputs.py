"""Takes uploads out of an input when it is stored, and puts the files back for the job."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from django.core.files.uploadedfile import UploadedFile

from async_reply.exceptions import PayloadError
from async_reply.files import store
from async_reply.files.streams import Stream
from async_reply.logs import logger
from async_reply.models import Operation, OperationFile

MAX_PATH_LENGTH = 255


def take(value: Any, path: str = "") -> tuple[Any, dict[str, "UploadedFile[Any]"]]:
    """Split `value` into JSON values and the uploads in it, by their dotted path.

    The JSON has the name of an upload in its place. Raises PayloadError for a path that is too
    long.
    """
    if isinstance(value, UploadedFile):
        if len(path) > MAX_PATH_LENGTH:
            raise PayloadError(
                f"A file's field has a name of more than {MAX_PATH_LENGTH} characters."
            )
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
        part, uploads_below = take(item, f"{path}.{step}" if path else step)
        parts.append((key, part))
        uploads |= uploads_below
    plain = dict(parts) if isinstance(value, dict) else [part for _, part in parts]
    return plain, uploads


def put_back(value: dict[str, Any], opened: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The reverse of `take`: `value` with each opened (path, file) at its path."""
    for path, handle in opened:
        *parents, last = map(_unescape, path.split("."))
        place: Any = value
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place[key]
        place[int(last) if isinstance(place, list) else last] = handle
    return value


def _escape(key: str) -> str:
    """A key as one step of a path. Clients choose keys: a dot in a key is not a separator."""
    return key.replace("~", "~0").replace(".", "~1")


def _unescape(step: str) -> str:
    return step.replace("~1", ".").replace("~0", "~")


#: A dotted path in an operation's input, and the open file for it.
Opened: TypeAlias = tuple[str, Any]


def opened(operation: Operation) -> list[Opened]:
    """The files that came with the request, open for reading bytes. After an error none is open."""
    if not operation.input_files:
        return []
    rows = OperationFile.objects.filter(operation=operation, role=OperationFile.Role.INPUT)
    handles: list[Opened] = []
    try:
        for row in rows:
            handles.append((row.field, store.opened_for_reading(row)))  # noqa: PERF401 closed if one fails
    except BaseException:
        close(handles)
        raise
    return handles


def close(opened: Iterable[Opened]) -> None:
    """Close the files. An error of the storage is logged, and the others are closed too."""
    for path, handle in opened:
        try:
            handle.close()
        except Exception:
            logger.warning("Input %s file=%s not closed", path, handle.name, exc_info=True)


def store_uploads(operation: Operation, uploads: Mapping[str, Any]) -> list[OperationFile]:
    """Write uploads, by their path, to the storage; returns their unsaved rows.

    If one fails, the others are deleted. Raises StorageFailed.
    """
    stored: list[OperationFile] = []
    try:
        for path, upload in uploads.items():
            content_type = upload.content_type or ""
            stored.append(store_input(operation, path, upload, upload.name, content_type))
    except BaseException:
        store.delete(stored)
        raise
    return stored


def store_input(
    operation: Operation, field: str, content: Stream, name: str, content_type: str
) -> OperationFile:
    return store.save(
        operation,
        content,
        role=OperationFile.Role.INPUT,
        field=field,
        name=name,
        content_type=content_type[:255],
    )
