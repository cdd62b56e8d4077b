"""Injects the planned faults into the system, and records each of them."""

import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celery import Celery

from tests.faults.schedule import PlannedFault
from tests.faults.servers import descendants, signal_all
from tests.faults.system import System


@dataclass
class Fault:
    """A fault that happened: its start, its end, and the processes that it hit."""

    kind: str
    began: float
    ended: float = 0.0
    pids: list[int] = field(default_factory=list)

    @property
    def stops_beats(self) -> bool:
        """Whether no heartbeat reaches the database while it lasts."""
        return "database" in self.kind or "freeze" in self.kind


class FaultInjector:
    """Carries out a plan. Each fault has a thread of its own.

    The database has one fault at a time, and so has the broker. A frozen worker gets no other
    fault until it continues.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self.done: list[Fault] = []
        self.errors: list[BaseException] = []
        self._locks = {name: threading.Lock() for name in ("broker", "database")}
        self._picking = threading.Lock()
        self._frozen: set[int] = set()
        self._threads: list[threading.Thread] = []

    def possible(self) -> dict[str, Callable[[PlannedFault, Fault], None]]:
        """The kinds of faults that this system can have, with the methods that inject them."""
        kinds: dict[str, Callable[[PlannedFault, Fault], None]] = {
            "kill child": self.kill_child,
            "kill worker": self.kill_worker,
            "kill worker and children": self.kill_group,
            "freeze worker": self.freeze_worker,
            "freeze child": self.freeze_child,
            "deploy": self.deploy,
            "kill web child": self.kill_web_child,
            "double messages": self.double_messages,
            "hang database": self.hang_database,
        }
        if self.system.broker is None:
            kinds["lose messages"] = self.lose_files
        else:
            kinds["restart broker"] = self.restart("broker")
            kinds["hang broker"] = self.hang_broker
        if self.system.database is not None:
            kinds["restart database"] = self.restart("database")
        return kinds

    def carry_out(self, plan: list[PlannedFault]) -> None:
        """Inject all faults; return after the end of the last one."""
        start = time.monotonic()
        for fault in plan:
            time.sleep(max(0.0, start + fault.at - time.monotonic()))
            thread = threading.Thread(target=self._inject, args=[fault], daemon=True)
            thread.start()
            self._threads.append(thread)
        for thread in self._threads:
            thread.join(180)

    def _inject(self, fault: PlannedFault) -> None:
        target = next((name for name in self._locks if name in fault.kind), "")
        lock = self._locks.get(target) or threading.Lock()
        with lock:
            done = Fault(fault.kind, time.time())
            try:
                self.possible()[fault.kind](fault, done)
            except BaseException as error:  # noqa: BLE001 the test reports it at the end
                self.errors.append(error)
            done.ended = time.time()
            self.done.append(done)

    def _worker(self, fault: PlannedFault, *, freeze: bool = False) -> list[int]:
        """Wait for a running worker; return its process and its children, frozen if `freeze`."""
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            with self._picking:
                running = [descendants(pid) for pid in self.system.supervisor.pids()]
                usable = [pids for pids in running if pids[1:] and not self._frozen & set(pids)]
                if usable:
                    pids = usable[int(fault.luck * len(usable))]
                    if freeze:
                        self._frozen.update(pids)
                        signal_all(pids, signal.SIGSTOP)
                    return pids
            time.sleep(0.1)
        raise TimeoutError("no worker runs")

    def _child(self, fault: PlannedFault) -> int:
        children = self._worker(fault)[1:]
        return children[int(fault.luck * 1000) % len(children)]

    def kill_child(self, fault: PlannedFault, done: Fault) -> None:
        done.pids = [self._child(fault)]
        signal_all(done.pids, signal.SIGKILL)

    def kill_worker(self, fault: PlannedFault, done: Fault) -> None:
        """Kill the main process only. Its children end by themselves, after their job."""
        done.pids = self._worker(fault)[:1]
        self.system.supervisor.doomed.update(done.pids)
        signal_all(done.pids, signal.SIGKILL)

    def kill_group(self, fault: PlannedFault, done: Fault) -> None:
        done.pids = self._worker(fault)
        self.system.supervisor.doomed.update(done.pids)
        signal_all(done.pids, signal.SIGKILL)

    def freeze_worker(self, fault: PlannedFault, done: Fault) -> None:
        done.pids = self._worker(fault, freeze=True)
        time.sleep(fault.seconds)
        with self._picking:
            self._frozen.difference_update(done.pids)
        signal_all(done.pids, signal.SIGCONT)

    def freeze_child(self, fault: PlannedFault, done: Fault) -> None:
        done.pids = [self._child(fault)]
        signal_all(done.pids, signal.SIGSTOP)
        time.sleep(fault.seconds)
        signal_all(done.pids, signal.SIGCONT)

    def deploy(self, fault: PlannedFault, done: Fault) -> None:
        self._worker(fault)
        slots = len(self.system.supervisor.current)
        pid = self.system.supervisor.deploy(int(fault.luck * slots))
        done.pids = [pid] if pid else []

    def kill_web_child(self, fault: PlannedFault, done: Fault) -> None:
        if self.system.web is not None:
            done.pids = descendants(self.system.web.popen.pid)[1:2]
            signal_all(done.pids, signal.SIGKILL)

    def restart(self, name: str) -> Callable[[PlannedFault, Fault], None]:
        """Kill a server, wait, and start it again with the data that it had persisted."""

        def do(fault: PlannedFault, done: Fault) -> None:
            server = getattr(self.system, name)
            server.kill()
            time.sleep(fault.seconds)
            server.start()

        return do

    def hang_broker(self, fault: PlannedFault, done: Fault) -> None:
        assert self.system.broker is not None
        self.system.broker.freeze()
        time.sleep(fault.seconds)
        self.system.broker.thaw()

    def hang_database(self, fault: PlannedFault, done: Fault) -> None:
        if self.system.database is None:
            with suppress(sqlite3.OperationalError):
                _lock_sqlite(self.system.folder / "db.sqlite3", fault.seconds)
            return
        self.system.database.freeze()
        time.sleep(fault.seconds)
        self.system.database.thaw()

    def lose_files(self, fault: PlannedFault, done: Fault) -> None:
        for message in (self.system.folder / "messages").glob("*.msg"):
            with suppress(FileNotFoundError):
                message.unlink()

    def double_messages(self, fault: PlannedFault, done: Fault) -> None:
        """Send second messages for running, finished and unknown operations."""
        from tests.faults import journal

        ids = {entry.id for entry in journal.read(self.system.journal)[-40:]}
        app = client_of_broker(self.system)
        with app.connection_for_write(connect_timeout=1) as connection:
            for pk in [*ids, "0192f0c1-2b3c-7000-8000-000000000000"]:
                with suppress(Exception):
                    app.send_task("faults.work", task_id=pk, connection=connection, retry=False)


def client_of_broker(system: System) -> Any:
    """A Celery app that has the broker's settings only."""
    app = Celery("harness", broker=system.environment["CELERY_BROKER_URL"] or "filesystem://")
    if system.broker is None:
        messages = str(system.folder / "messages")
        app.conf.broker_transport = "demo_project.transport:Transport"
        app.conf.broker_transport_options = {
            "data_folder_in": messages,
            "data_folder_out": messages,
            "control_folder": str(system.folder / "control"),
        }
    else:
        app.conf.broker_transport_options = {"socket_timeout": 1, "socket_connect_timeout": 1}
    return app


def _lock_sqlite(path: Path, seconds: float) -> None:
    """Hold SQLite's lock for writers."""
    connection = sqlite3.connect(path, timeout=10, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
    finally:
        connection.close()
