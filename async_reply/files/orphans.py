"""Bytes that no row speaks of: what dies between file and row leaves some behind."""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from django.core.files.storage import FileSystemStorage, Storage

from async_reply import conf
from async_reply.logs import logger
from async_reply.models import FOLDER, Operation, OperationFile
from async_reply.status import FINAL, Status

SECONDS_PER_TURN = 0.5
#: A submit has its bytes stored before its row: its day, and the next, are left alone.
YOUNGEST = timedelta(days=2)


class Sweeper:
    """Sweeps a little at each turn, so that what else its thread does goes on."""

    def __init__(self) -> None:
        self._walk: Iterator[str] | None = None

    def turn(self) -> int:
        """Go on for half a second; a whole batch while there is more to do, then 0."""
        walk = self._walk or sweep(datetime.now(UTC).date())
        self._walk = None
        give_up = time.monotonic() + SECONDS_PER_TURN
        for _folder in walk:
            if time.monotonic() >= give_up:
                self._walk = walk
                return int(conf.get("BATCH"))
        return 0


def sweep(today: date) -> Iterator[str]:
    """Remove orphans from the folders of days before yesterday, yielding each folder looked at.

    An operation that is not over is left alone: its attempt may be about to finish with bytes
    it has stored. One that is over gets no more rows, so what has none then is an orphan.
    """
    storage: Storage = OperationFile().file.storage
    for day in _past_days(storage, today):
        folder = f"{FOLDER}/{day:%Y%m%d}"
        names = _listed(storage, folder)[0]
        yield folder
        size = conf.get("BATCH")
        for start in range(0, len(names), size):
            yield from _sweep_operations(storage, folder, names[start : start + size])
        if not names and _is_over(day):
            _remove_folder(storage, folder)


def _sweep_operations(storage: Storage, day: str, names: list[str]) -> Iterator[str]:
    ids = {pk: name for name in names if (pk := _id(name)) is not None}
    columns = ("pk", "status", "attempt", "deleted_at")
    rows = Operation.objects.filter(pk__in=ids).values_list(*columns)
    found = {pk: (status, attempt, buried) for pk, status, attempt, buried in rows}
    for pk, name in ids.items():
        folder = f"{day}/{name}"
        yield folder
        status, attempt, buried = found.get(pk, ("", 0, True))
        if buried:
            _clear(storage, folder, kept=set())
        elif status in FINAL and (attempt > 1 or status != Status.SUCCEEDED):
            # Where the first attempt succeeded, none died; other leftovers go with the row.
            files = OperationFile.objects.filter(operation_id=pk)
            _clear(storage, folder, kept=set(files.values_list("file", flat=True)))


def _clear(storage: Storage, folder: str, *, kept: set[str]) -> None:
    """Remove all files below `folder` but those `kept`, and what is empty then."""
    folders, files = _listed(storage, folder)
    for name in folders:
        _clear(storage, f"{folder}/{name}", kept=kept)
    for path in (f"{folder}/{name}" for name in files):
        if path not in kept and _delete(storage, path):
            logger.info("Orphan file=%s removed", path)
    _remove_folder(storage, folder)


def _remove_folder(storage: Storage, folder: str) -> None:
    """Where folders are more than a part of a name, remove an empty one."""
    if isinstance(storage, FileSystemStorage) and not any(_listed(storage, folder)):
        _delete(storage, folder)


def _delete(storage: Storage, path: str) -> bool:
    """Whether it is gone; what a storage keeps must not keep the sweep from all that follows."""
    try:
        storage.delete(path)
    except Exception as error:  # noqa: BLE001 storages fail in as many ways as there are
        logger.warning("Orphan file=%s not removed, the next sweep tries again: %s", path, error)
        return False
    return True


def _listed(storage: Storage, folder: str) -> tuple[list[str], list[str]]:
    """Folders and files in `folder`; none where there is no such folder."""
    try:
        folders, files = storage.listdir(folder)
    except FileNotFoundError:
        return [], []
    return sorted(folders), sorted(files)


def _past_days(storage: Storage, today: date) -> list[datetime]:
    """The days of folders to sweep, oldest first; none where a storage cannot list."""
    try:
        names = _listed(storage, FOLDER)[0]
    except NotImplementedError:
        return []
    days = [day for name in names if (day := _day(name)) is not None]
    return [day for day in days if day.date() <= today - YOUNGEST]


def _day(name: str) -> datetime | None:
    """What a folder of ours is called by; None for another's. No id is of a time before 1970."""
    try:
        day = datetime.strptime(name, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return day if f"{day:%Y%m%d}" == name and day.year >= 1970 else None


def _is_over(day: datetime) -> bool:
    """Whether no operation of `day` or before is left that could still store a file there."""
    end = day + timedelta(days=1)
    first = UUID(int=int(end.timestamp() * 1000) << 80)
    return not Operation.objects.unfinished().filter(pk__lt=first).exists()


def _id(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
