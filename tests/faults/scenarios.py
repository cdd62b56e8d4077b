"""Scenarios with one fault each. A scenario needs one rule of the product to end well."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults import journal
from tests.faults.clients import Client, ClientRequest
from tests.faults.evidence import Evidence
from tests.faults.injector import client_of_broker
from tests.faults.servers import descendants, signal_all
from tests.faults.system import System

LEASE = 2.0


def zombie(system: System) -> None:
    """A worker freezes near the end of its job. It continues after another attempt took over."""
    entry = _started(system, _submit(system, seconds=3, manner="silent"))
    time.sleep(2.3)
    frozen = _worker_of(system, entry.pid)
    signal_all(frozen, signal.SIGSTOP)
    try:
        system.wait_for(lambda: len(_starts(system, entry.id)) > 1)
    finally:
        signal_all(frozen, signal.SIGCONT)


def duplicate(system: System) -> None:
    """The message is sent again while the job runs, and after its end."""
    pk = _submit(system, seconds=1, manner="polite")
    _started(system, pk)
    _send(system, pk)
    # The outcome is stored a moment after the job's function has returned.
    system.wait_for(
        lambda: system.logged(f"id={pk} kind=faults.work status=succeeded finished") > 0
    )
    _send(system, pk)
    _started(system, _submit(system, seconds=0, manner="polite"))


def calm(system: System) -> None:
    """There is no fault."""
    for _ in range(3):
        _submit(system, seconds=0, manner="polite")
    _started(system, _submit(system, seconds=7, manner="silent"))


def killed(system: System) -> None:
    """A whole worker is killed with its job, so no process can report the loss."""
    entry = _started(system, _submit(system, seconds=2, manner="silent"))
    signal_all(_worker_of(system, entry.pid), signal.SIGKILL)


def no_broker(system: System) -> None:
    """The folder of the messages is missing for a while. Submits are accepted nevertheless."""
    messages = system.folder / "messages"
    system.wait_for(messages.is_dir)
    hidden = system.folder / "hidden"
    messages.rename(hidden)
    messages.write_text("in the way")
    _submit(system, seconds=0, manner="polite")
    messages.unlink()
    hidden.rename(messages)


def killed_in_steps(system: System) -> None:
    """A worker is killed a moment after the effect of an atomic step."""
    _kill_at(system, _submit_steps(system, seconds=10), "step", 3, delay=0.5)


def killed_in_loop(system: System) -> None:
    """A worker is killed late in the loop of a job of steps."""
    _kill_at(system, _submit_steps(system, seconds=15), "item", 25)


@contextmanager
def system_of(folder: Path, mutant: str = "") -> Iterator[System]:
    """A system on SQLite and files, with one broken rule if `mutant` names it."""
    environment = {"FAULTS_MUTANT": mutant}
    with System(folder, database=None, broker=None, lease=LEASE, environment=environment) as system:
        yield system


def play(scenario: Callable[[System], None], folder: Path, *, mutant: str = "") -> Evidence:
    """The evidence after a scenario, and after time for healthy workers to finish."""
    with system_of(folder, mutant) as system:
        scenario(system)
        rows = json.loads(system.manage("faults_rows", "--wait", "25"))
        requests = _requests.pop(system.base_url)
        return Evidence(rows, journal.read(system.journal), requests, lease=LEASE)


_requests: dict[str, list[ClientRequest]] = {}


def _submit(system: System, *, seconds: float, manner: str) -> str:
    return _accepted(system, "/work/", {"seconds": seconds, "manner": manner})


def _submit_steps(system: System, *, seconds: float) -> str:
    return _accepted(system, "/steps/", {"seconds": seconds})


def _kill_at(system: System, pk: str, event: str, part: int, *, delay: float = 0) -> None:
    """Kill the worker of the operation at a line of the journal, or a moment later."""

    def reached() -> list[journal.Entry]:
        lines = journal.read(system.journal)
        return [
            line for line in lines if (line.id, line.event, line.part) == (pk, event, str(part))
        ]

    system.wait_for(lambda: bool(reached()))
    time.sleep(delay)
    signal_all(_worker_of(system, reached()[0].pid), signal.SIGKILL)


def _accepted(system: System, path: str, body: dict[str, Any]) -> str:
    requests = _requests.setdefault(system.base_url, [])
    token = f"scenario-{len(requests)}"
    request = ClientRequest(token, {**body, "token": token}, path, cancels=False)
    client = Client(system.base_url, [request], pace=0, seed=0, watches=False)
    client.run()
    requests.append(request)
    assert request.id, request.tries
    return request.id


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
    """All processes of the worker that has this child."""
    for process in system.supervisor.current:
        if process is not None and child in (pids := descendants(process.popen.pid)):
            return pids
    raise LookupError(f"No worker has the child {child}.")
