"""Deletes files that belong to no row, for maintenance.

A worker that dies between storing a file and storing its row leaves such an orphan behind.
"""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from django.core.files.storage import FileSystemStorage, Storage

from async_reply import conf
from async_reply.logs import logger
from async_reply.models import Operation, OperationFile
from async_reply.status import FINAL, Status
from async_reply.storage import FOLDER

SECONDS_PER_TURN = 0.5
#: Folders of the last two days are left alone: a submit stores its files before its row.
MIN_AGE = timedelta(days=2)


class OrphanDeleter:
    """Deletes orphans a little at each turn: the other duties of its thread go on."""

    def __init__(self) -> None:
        self._walk: Iterator[str] | None = None

    def turn(self) -> int:
        """Go on for half a second; returns a whole batch while there is more to do, then 0."""
        walk = self._walk or delete_orphans(datetime.now(UTC).date())
        self._walk = None
        give_up = time.monotonic() + SECONDS_PER_TURN
        for _folder in walk:
            if time.monotonic() >= give_up:
                self._walk = walk
                return int(conf.get("BATCH"))
        return 0


def delete_orphans(today: date) -> Iterator[str]:
    """Delete orphans in the folders of days before yesterday; yields each folder it looked at.

    Files of an unfinished operation stay: its attempt may have stored a file whose row comes
    with the result. A finished operation gets no more rows, so that a file without one is an
    orphan.
    """
    storage: Storage = OperationFile().file.storage
    for day in _past_days(storage, today):
        folder = f"{FOLDER}/{day:%Y%m%d}"
        names = _listed(storage, folder)[0]
        yield folder
        size = conf.get("BATCH")
        for start in range(0, len(names), size):
            yield from _delete_below_day(storage, folder, names[start : start + size])
        if not names and _is_over(day):
            _delete_folder(storage, folder)


def _delete_below_day(storage: Storage, day: str, names: list[str]) -> Iterator[str]:
    ids = {pk: name for name in names if (pk := _id(name)) is not None}
    columns = ("pk", "status", "attempt", "deleted_at")
    rows = {row[0]: row[1:] for row in Operation.objects.filter(pk__in=ids).values_list(*columns)}
    for pk, name in ids.items():
        folder = f"{day}/{name}"
        yield folder
        status, attempt, deleted_at = rows.get(pk, ("", 0, None))
        if pk not in rows or deleted_at is not None:
            _delete_files(storage, folder, kept=set())
        elif status in FINAL and (attempt > 1 or status != Status.SUCCEEDED):
            # If the first attempt succeeded, no attempt has died. A purge deletes other leftovers.
            files = OperationFile.objects.filter(operation_id=pk)
            _delete_files(storage, folder, kept=set(files.values_list("file", flat=True)))


def _delete_files(storage: Storage, folder: str, *, kept: set[str]) -> None:
    """Delete all files below `folder` except those `kept`, and folders that are empty then."""
    folders, files = _listed(storage, folder)
    for name in folders:
        _delete_files(storage, f"{folder}/{name}", kept=kept)
    for path in (f"{folder}/{name}" for name in files):
        if path not in kept and _delete(storage, path):
            logger.info("Orphan file=%s deleted", path)
    _delete_folder(storage, folder)


def _delete_folder(storage: Storage, folder: str) -> None:
    """Delete an empty folder. Other storages than a file system have no folders of their own."""
    if isinstance(storage, FileSystemStorage) and not any(_listed(storage, folder)):
        _delete(storage, folder)


def _delete(storage: Storage, path: str) -> bool:
    """Delete a file or a folder; False after an error of the storage, which is logged."""
    try:
        storage.delete(path)
    except Exception as error:  # noqa: BLE001 storages fail in as many ways as there are
        logger.warning("Orphan file=%s not deleted, the next turn tries again: %s", path, error)
        return False
    return True


def _listed(storage: Storage, folder: str) -> tuple[list[str], list[str]]:
    """Folders and files in `folder`; none if it does not exist."""
    try:
        folders, files = storage.listdir(folder)
    except FileNotFoundError:
        return [], []
    return sorted(folders), sorted(files)


def _past_days(storage: Storage, today: date) -> list[datetime]:
    """The days whose folders are old enough, oldest first; none if the storage cannot list."""
    try:
        names = _listed(storage, FOLDER)[0]
    except NotImplementedError:
        return []
    days = [day for name in names if (day := _day(name)) is not None]
    return [day for day in days if day.date() <= today - MIN_AGE]


def _day(name: str) -> datetime | None:
    """The day that a folder of ours is named after; None for other folders.

    Ids are of no time before 1970.
    """
    try:
        day = datetime.strptime(name, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return day if f"{day:%Y%m%d}" == name and day.year >= 1970 else None


def _is_over(day: datetime) -> bool:
    """Whether no unfinished operation of `day` or before is left, which could store a file."""
    end = day + timedelta(days=1)
    first = UUID(int=int(end.timestamp() * 1000) << 80)
    return not Operation.objects.unfinished().filter(pk__lt=first).exists()


def _id(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
