"""Files that came with a request: taken out of the input, and put back for the job."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from django.core.files.uploadedfile import UploadedFile

from async_reply.exceptions import PayloadError
from async_reply.files import store
from async_reply.files.streams import Stream
from async_reply.logs import logger
from async_reply.models import Operation, OperationFile

LONGEST_PATH = 255


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


#: A dotted path in an operation's input, and the file that is read there.
Opened: TypeAlias = tuple[str, Any]


def opened(operation: Operation) -> list[Opened]:
    """Each file that came with the request, open for reading bytes: all of them or none."""
    rows = OperationFile.objects.filter(operation=operation, role=OperationFile.Role.INPUT)
    found: list[Opened] = []
    try:
        for row in rows:
            found.append((row.field, store.opened_for_reading(row)))  # noqa: PERF401 closed if one fails
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


def store_uploads(operation: Operation, uploads: Mapping[str, Any]) -> list[OperationFile]:
    stored: list[OperationFile] = []
    try:
        for path, upload in uploads.items():
            content_type = upload.content_type or ""
            stored.append(store_input(operation, path, upload, upload.name, content_type))
    except BaseException:
        store.remove(stored)
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
