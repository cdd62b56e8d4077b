"""Small, aimed faults: each makes one rule of the product matter."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults import journal
from tests.faults.clients import Asked, Client
from tests.faults.faults import client_of_broker
from tests.faults.invariants import Evidence
from tests.faults.servers import descendants, signal_all
from tests.faults.system import System

LEASE = 2.0


def zombie(system: System) -> None:
    """A worker freezes near the end of its job, is replaced, and wakes up to finish it."""
    entry = _started(system, _submit(system, seconds=3, manner="silent"))
    time.sleep(2.3)
    frozen = _worker_of(system, entry.pid)
    signal_all(frozen, signal.SIGSTOP)
    try:
        system.wait_for(lambda: len(_starts(system, entry.id)) > 1)
    finally:
        signal_all(frozen, signal.SIGCONT)


def duplicate(system: System) -> None:
    """The message comes again while the job runs, and after its end."""
    pk = _submit(system, seconds=1, manner="polite")
    _started(system, pk)
    _send(system, pk)
    system.wait_for(lambda: any(one.event == "end" for one in journal.read(system.journal)))
    _send(system, pk)
    _started(system, _submit(system, seconds=0, manner="polite"))


def calm(system: System) -> None:
    """Nothing happens at all."""
    for _ in range(3):
        _submit(system, seconds=0, manner="polite")
    _started(system, _submit(system, seconds=7, manner="silent"))


def killed(system: System) -> None:
    """A whole worker dies with its job: nobody is left to tell of it."""
    entry = _started(system, _submit(system, seconds=2, manner="silent"))
    signal_all(_worker_of(system, entry.pid), signal.SIGKILL)


def no_broker(system: System) -> None:
    """The folder of the messages is gone for a while: submits are accepted all the same."""
    messages = system.folder / "messages"
    system.wait_for(messages.is_dir)
    hidden = system.folder / "hidden"
    messages.rename(hidden)
    messages.write_text("in the way")
    _submit(system, seconds=0, manner="polite")
    messages.unlink()
    hidden.rename(messages)


@contextmanager
def system_of(folder: Path, mutant: str = "") -> Iterator[System]:
    """SQLite and files, with a rule broken or none."""
    environment = {"FAULTS_MUTANT": mutant}
    with System(folder, database=None, broker=None, lease=LEASE, environment=environment) as system:
        yield system


def play(scenario: Callable[[System], None], folder: Path, *, mutant: str = "") -> Evidence:
    """What is left after a scenario and some time for healthy workers."""
    with system_of(folder, mutant) as system:
        scenario(system)
        rows = json.loads(system.manage("faults_rows", "--wait", "25"))
        return Evidence(rows, journal.read(system.journal), _asked.pop(system.base_url))


_asked: dict[str, list[Asked]] = {}


def _submit(system: System, *, seconds: float, manner: str) -> str:
    wishes = _asked.setdefault(system.base_url, [])
    token = f"scenario-{len(wishes)}"
    body = {"seconds": seconds, "manner": manner, "token": token}
    wish = Asked(token, body, "/work/", cancels=False)
    client = Client(system.base_url, [wish], pace=0, seed=0, watches=False)
    client.run()
    wishes.append(wish)
    assert wish.id, wish.tries
    return wish.id


def _send(system: System, pk: str) -> None:
    app = client_of_broker(system)
    with app.connection_for_write() as connection:
        app.send_task("faults.work", task_id=pk, connection=connection)


def _starts(system: System, pk: str) -> list[journal.Entry]:
    entries = journal.read(system.journal)
    return [entry for entry in entries if entry.event == "start" and entry.id == pk]


def _started(system: System, pk: str) -> journal.Entry:
    system.wait_for(lambda: bool(_starts(system, pk)))
    return _starts(system, pk)[0]


def _worker_of(system: System, child: int) -> list[int]:
    """The worker with this child, all its processes."""
    for process in system.supervisor.current:
        if process is not None and child in (pids := descendants(process.popen.pid)):
            return pids
    raise LookupError(f"No worker has the child {child}.")
