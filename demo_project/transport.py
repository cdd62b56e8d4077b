"""A Celery broker made of files, for the demo and for tests. Many processes may use it at once.

With kombu's own filesystem transport, a reader may see half a message. This transport writes a
message under a temporary name and renames it. A reader claims a message by renaming it again: the
file system lets only one reader succeed. A table of bindings is replaced as a whole. The folders
are created if they are missing. They must be local to the machine. The settings are::

    CELERY_BROKER_URL = "filesystem://"
    CELERY_BROKER_TRANSPORT = "demo_project.transport:Transport"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": "/path/to/messages",
        "data_folder_out": "/path/to/messages",  # the same folder
        "control_folder": "/path/to/control",
    }

Three more options are optional: ``polling_interval`` (seconds, 0.05 by default), and
``store_processed`` with ``processed_folder``, to keep the messages that were read.

A broker of files has no leases: the message that a worker holds when it is killed is lost.
"""

import fcntl
import shutil
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any
from urllib.parse import quote

from kombu.exceptions import ChannelError
from kombu.log import get_logger
from kombu.transport import filesystem
from kombu.transport.filesystem import exchange_queue_t
from kombu.transport.virtual.base import BrokerState
from kombu.utils.json import dumps, loads

logger = get_logger(__name__)

#: The number of messages that one turn of the event loop delivers at most.
MESSAGES_PER_TURN = 100


class Channel(filesystem.Channel):
    """Each message is a file ``<nanoseconds>_<uuid>.<queue>.msg``. The names sort by age."""

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._listed: dict[str, deque[str]] = {}
        folders = {self.data_folder_in, self.data_folder_out, self.control_folder}
        if self.store_processed:
            folders.add(self.processed_folder)
        for folder in folders:
            Path(folder).mkdir(parents=True, exist_ok=True)

    def _put(  # type: ignore[override]  # the classes above differ in their signatures
        self, queue: str, payload: dict[str, Any], **_: Any
    ) -> None:
        name = f"{time.time_ns():020d}_{uuid.uuid4()}.{_quoted(queue)}.msg"
        path = Path(self.data_folder_out, name)
        try:
            _write(path, dumps(payload))
        except OSError as error:
            # The disk is full or the folder is missing. kombu reports a ChannelError.
            raise ChannelError(f"Cannot write the message {path}: {error}") from error

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        # A backlog is listed once, not for each message. Another reader may take a listed name.
        names = self._listed.setdefault(queue, deque())
        if not names:
            names.extend(self._names(queue))
        while names:
            message = self._take(names.popleft())
            if message is not None:
                return message
        raise Empty

    def _size(self, queue: str) -> int:
        return len(self._names(queue))

    def _purge(self, queue: str) -> int:
        count = 0
        for name in self._names(queue):
            try:
                Path(self.data_folder_in, name).unlink()
            except FileNotFoundError:
                continue
            count += 1
        return count

    def _names(self, queue: str) -> list[str]:
        ending = f"{_quoted(queue)}.msg"
        names = (path.name for path in Path(self.data_folder_in).iterdir())
        return sorted(name for name in names if name.partition(".")[2] == ending)

    def _take(self, name: str) -> dict[str, Any] | None:
        """Return the message, or None when another reader has it or it cannot be read."""
        claimed = Path(self.data_folder_in, f"{name}.claimed")
        try:
            Path(self.data_folder_in, name).rename(claimed)
        except FileNotFoundError:
            return None
        try:
            message: dict[str, Any] = loads(claimed.read_text("utf-8"))
        except ValueError:
            # A crash of the machine cut the file. It must not stop the worker at each start.
            logger.exception("A message cannot be read and stays in file=%s", claimed)
            return None
        if self.store_processed:
            shutil.move(claimed, Path(self.processed_folder, name))
        else:
            claimed.unlink()
        return message

    def get_table(  # type: ignore[override]  # a named tuple, as in the class above
        self, exchange: str
    ) -> list[exchange_queue_t]:
        try:
            rows = loads(self._table(exchange).read_text("utf-8"))
        except FileNotFoundError:
            return []
        return [exchange_queue_t(*row) for row in rows]

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str | None, queue: str) -> None:
        binding = exchange_queue_t(routing_key or "", pattern or "", queue or "")
        # Most bindings exist already, and reading needs no lock.
        if binding not in self.get_table(exchange):
            with self._changing(exchange) as table:
                if binding not in table:
                    table.insert(0, binding)

    def _delete(
        self, queue: str, exchange: str, routing_key: str, pattern: str | None, *_: Any, **__: Any
    ) -> None:
        self._purge(queue)
        binding = exchange_queue_t(routing_key or "", pattern or "", queue or "")
        with self._changing(exchange) as table:
            if binding in table:
                table.remove(binding)

    @contextmanager
    def _changing(self, exchange: str) -> Iterator[list[exchange_queue_t]]:
        """Give the table of bindings to one writer at a time, and store it afterwards."""
        path = self._table(exchange)
        # The lock has its own file, because the table's file is replaced. The kernel releases the
        # lock of a process that is killed.
        with path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            table = self.get_table(exchange)
            yield table
            _write(path, dumps(table))

    def _table(self, exchange: str) -> Path:
        return Path(self.control_folder, f"{_quoted(exchange)}.exchange")


class Transport(filesystem.Transport):
    """Polls from Celery's event loop: every 50 ms, and whenever another event wakes the loop.

    Without an event loop, Celery's processes wait for jobs at one shared lock. A process that is
    terminated while it holds the lock never releases it, and the worker hangs at its shutdown.
    """

    Channel = Channel
    global_state = BrokerState()
    implements = filesystem.Transport.implements.extend(asynchronous=True)
    polling_interval = 0.05

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self._hub: Any = None
        self._timer: Any = None

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        self._leave_event_loop()
        self._hub = loop
        self._timer = loop.call_repeatedly(self.polling_interval, self._deliver_waiting)
        loop.on_tick.add(self._deliver_waiting)

    def close_connection(self, connection: Any) -> None:
        self._leave_event_loop()
        super().close_connection(connection)

    def _leave_event_loop(self) -> None:
        if self._hub is not None:
            self._hub.on_tick.discard(self._deliver_waiting)
            self._timer.cancel()
            self._hub = None

    def _deliver_waiting(self) -> None:
        """Deliver messages up to a limit, which leaves the loop time for its other work."""
        cycle: Any = self.cycle
        for _ in range(MESSAGES_PER_TURN):
            try:
                cycle.get(self._deliver)
            except Empty:
                return


def _quoted(name: str) -> str:
    """Return the name as one part of a path, whatever characters it contains."""
    return quote(name, safe="@")


def _write(path: Path, content: str) -> None:
    """Write the file so that readers see it complete. No reader looks for the temporary name."""
    temporary = path.with_name(f"{uuid.uuid4()}.part")
    temporary.write_text(content, "utf-8")
    temporary.replace(path)
