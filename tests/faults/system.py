"""Runs the system under test: web server, workers under a supervisor, database and broker."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from demo_project.processes import Process, free_port, listens, wait_for
from tests.faults.servers import Server

ROOT = Path(__file__).parents[2]
CONCURRENCY = 3
RESTART_AFTER_SECONDS = 1.0
STOP_WITHIN_SECONDS = 30.0


@dataclass
class Exit:
    """The end of a worker. `wanted`: the test ended it."""

    name: str
    returncode: int
    wanted: bool


class Supervisor(threading.Thread):
    """Keeps workers running, as the docs advise: a worker that ends is started again after 1 s."""

    def __init__(self, system: "System", count: int) -> None:
        super().__init__(name="supervisor", daemon=True)
        self.system = system
        self.lock = threading.RLock()
        self.current: list[Process | None] = [None] * count
        self.retiring: list[tuple[Process, float]] = []
        self.started: list[Process] = []
        self.doomed: set[int] = set()
        self.exits: list[Exit] = []
        self._ended = threading.Event()

    def launch(self, slot: int) -> None:
        """Start a worker. It has the same node name each time, as under a real supervisor."""
        process = self.system.launch(f"worker{slot + 1}", worker(slot))
        self.started.append(process)
        self.current[slot] = process

    def run(self) -> None:
        for slot in range(len(self.current)):
            self.launch(slot)
        while not self._ended.wait(0.2):
            with self.lock:
                self._look()

    def _look(self) -> None:
        for slot, process in enumerate(self.current):
            if process is not None and process.popen.poll() is not None:
                self._note(process)
                self.current[slot] = None
                threading.Timer(RESTART_AFTER_SECONDS, self._relaunch, [slot]).start()
        for process, kill_at in list(self.retiring):
            if process.popen.poll() is not None:
                self._note(process, retired=True)
                self.retiring.remove((process, kill_at))
            elif time.monotonic() > kill_at:
                with suppress(ProcessLookupError):
                    os.killpg(process.popen.pid, signal.SIGKILL)

    def _note(self, process: Process, *, retired: bool = False) -> None:
        wanted = retired or process.popen.pid in self.doomed
        self.exits.append(Exit(process.name, process.popen.returncode, wanted))

    def _relaunch(self, slot: int) -> None:
        with self.lock:
            if not self._ended.is_set() and self.current[slot] is None:
                self.launch(slot)

    def deploy(self, slot: int) -> int | None:
        """Send SIGTERM to a worker and start the next at once; return the pid of the old one."""
        with self.lock:
            old = self.current[slot]
            if old is None:
                return None
            old.popen.terminate()
            self.retiring.append((old, time.monotonic() + STOP_WITHIN_SECONDS))
            self.launch(slot)
            return old.popen.pid

    def pids(self) -> list[int]:
        """The main processes of the workers that run."""
        with self.lock:
            workers = [worker for worker in self.current if worker is not None]
            return [worker.popen.pid for worker in workers if worker.popen.poll() is None]

    def stop(self) -> None:
        self._ended.set()
        if self.is_alive():
            self.join()
        with self.lock:
            for process in self.started:
                with suppress(ProcessLookupError):
                    os.killpg(process.popen.pid, signal.SIGCONT)
            for process in self.started:
                with suppress(ProcessLookupError):
                    os.killpg(process.popen.pid, signal.SIGKILL)
                process.popen.wait()


class System:
    """All processes of a deployment, in one folder. They start and end together."""

    def __init__(
        self,
        folder: Path,
        *,
        database: Server | None,
        broker: Server | None,
        lease: float,
        workers: int = 2,
        web_workers: int = 2,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self.database, self.broker, self.lease = folder, database, broker, lease
        self.journal = folder / "journal"
        self.port, self.web_workers = free_port(), web_workers
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("COV_")}
        self.environment = {
            **inherited,
            "DEMO_DIR": str(folder),
            "DEMO_LEASE": str(lease),
            "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
            "DATABASE_URL": getattr(database, "url", ""),
            "CELERY_BROKER_URL": getattr(broker, "url", ""),
            "FAULTS_JOURNAL": str(self.journal),
            **(environment or {}),
        }
        self.web: Process | None = None
        self.supervisor = Supervisor(self, workers)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def launch(self, name: str, command: list[str]) -> Process:
        logs = self.folder / "logs"
        return Process(name, command, logs=logs, environment=self.environment)

    def manage(self, *arguments: str, timeout: float = 300) -> str:
        command = [sys.executable, "manage.py", *arguments]
        process = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=timeout,
        )
        return process.stdout

    def start(self, *, web: bool = True, workers: bool = True) -> None:
        for server in filter(None, (self.database, self.broker)):
            server.prepare()
            server.start()
        self.manage("demo", "--prepare")
        if web:
            self.web = self.launch("web", web_server(self.port, self.web_workers))
            wait_for(lambda: listens(self.port), processes=[self.web], what="the web server")
        if workers:
            self.supervisor.start()

    def stop(self) -> None:
        """End all processes, in whatever state they are."""
        self.supervisor.stop()
        if self.web is not None:
            self.web.stop()
        for server in filter(None, (self.broker, self.database)):
            server.stop()

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Return once the condition holds; TimeoutError after `seconds`."""
        give_up = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > give_up:
                raise TimeoutError(f"Waited {seconds:.0f} s without success.")
            time.sleep(0.05)

    def logged(self, text: str) -> int:
        """The number of times that the workers logged `text`."""
        logs = (self.folder / "logs").glob("worker*.log")
        return sum(log.read_text(errors="replace").count(text) for log in logs)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()


def web_server(port: int, workers: int) -> list[str]:
    options = ["--bind", f"127.0.0.1:{port}", "--workers", str(workers), "--threads", "8"]
    return [sys.executable, "-m", "gunicorn", "demo_project.wsgi", *options]


def worker(slot: int) -> list[str]:
    options = ["--hostname", f"worker{slot + 1}@faults", "--concurrency", str(CONCURRENCY)]
    options += ["--loglevel", "INFO", "--without-mingle", "--without-gossip"]
    return [sys.executable, "-m", "celery", "-A", "demo_project", "worker", *options]
