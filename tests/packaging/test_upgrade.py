"""An upgrade from the previous commit, during which old and new processes run side by side.

The old code is an export of that commit, the new code is the work tree. The order is that of
docs/how-to/upgrade.rst, but the new web server comes before the new worker: so the old worker also
runs what the new code submits. All processes share a PostgreSQL database and a broker of files.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo_project.processes import Process
from tests.project.talking import PARTS
from tests.stacks.stack import Stack, follow, prepared, wait_until

pytest.importorskip("standardwebhooks", reason="needs the extra webhooks")

from tests.contrib.webhooks.receivers import Receiver, receiving

pytestmark = pytest.mark.packaging

#: The jobs that run while the tables change outlive their lease. So their worker has to renew it.
LEASE = 3
#: The limit of waits. It is long, since machines that run this are busy.
WAIT_SECONDS = 60
#: Lines in logs say this when a process cannot use the tables.
COMPLAINTS = ("run manage.py migrate", "failed, it goes on", "django.db.utils.", "psycopg.errors.")


class Side:
    """The code of one commit: a web server, its client, and a worker."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.client: httpx.Client = stack.client()
        self.origin = str(self.client.base_url).rstrip("/")

    def start_worker(self) -> Process:
        """Start a worker with a process for each of the long jobs; return when it is ready."""
        hostname = f"{self.stack.folder.name}@%h"
        worker = self.stack.start_worker("--concurrency", "6", "--hostname", hostname)
        wait_until(lambda: " ready." in worker.tail(1000), seconds=WAIT_SECONDS)
        return worker

    def stop(self, process: Process) -> None:
        """Send SIGTERM, as a deploy does; return once the process has ended."""
        process.popen.terminate()
        assert process.popen.wait(WAIT_SECONDS) == 0, process.tail()
        self.stack.processes.remove(process)

    def submit(self, path: str, **body: Any) -> str:
        """Submit; the path of the status URL, which both sides answer."""
        accepted = self.client.post(path, json=body)
        assert accepted.status_code == 202, accepted.text[:400]
        return f"/api/operations/{accepted.headers['Operation-Id']}/"

    def get(self, url: str) -> Any:
        """The answer as JSON or text, without the address of the server."""
        response = self.client.get(url)
        assert response.status_code < 500, response.text[:400]
        if "json" not in response.headers["Content-Type"]:
            return response.text
        return httpx.Response(200, text=response.text.replace(self.origin, "")).json()

    def state(self, url: str) -> tuple[str, int]:
        """Status and attempt of an operation."""
        document = self.get(f"{url}monitor/")
        return document["status"], document["attempt"]

    def wait_for(self, url: str, status: str) -> None:
        wait_until(lambda: self.state(url) == (status, 1), seconds=WAIT_SECONDS)

    def result(self, url: str) -> Any:
        """Poll until the operation ends; its result."""
        return follow(self.client, url, seconds=WAIT_SECONDS).json()

    def answers(self, url: str) -> dict[str, Any]:
        """All that can be read about an operation."""
        return {part: self.get(f"{url}{part}/") for part in ("monitor", "result", "log")}


@pytest.fixture
def sides(previous: Path, tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    """The old code with its tables and its web server, and the new code without processes."""
    with prepared(
        tmp_path / "old",
        database="postgresql",
        broker="files",
        settings="tests.project.hooked",
        lease=LEASE,
        source=previous,
    ) as stack:
        new = Stack(tmp_path / "new", stack.environment, database=stack.database)
        sides = Side(stack), Side(new)
        try:
            yield sides
        finally:
            new.stop()
            for side in sides:
                side.client.close()
            for name, lines in logs(sides).items():  # pytest shows them with a failure
                sys.stdout.write("\n".join([name, *lines[-60:], ""]))


def logs(sides: tuple[Side, Side]) -> dict[str, list[str]]:
    """The lines of each process's log."""
    paths = [path for side in sides for path in (side.stack.folder / "logs").glob("*.log")]
    return {str(path): path.read_text(errors="replace").splitlines() for path in paths}


def package(side: Side) -> Path:
    """The folder from which the processes of the side import the package."""
    command = [sys.executable, "-c", "import async_reply; print(*async_reply.__path__)"]
    options: dict[str, Any] = {"cwd": side.stack.source, "env": side.stack.environment}
    return Path(subprocess.check_output(command, text=True, **options).strip())


def finished_operations(side: Side) -> dict[str, Any]:
    """Operations that have ended, by URL, and what is read about each."""
    urls = [
        side.submit("/api/sleeps/", seconds=0, value={"ä": [1, None]}),
        side.submit("/refusals/"),
        side.submit("/exports/"),
    ]
    for url in urls:
        follow(side.client, url, seconds=WAIT_SECONDS)
    return {url: side.answers(url) for url in urls}


def check_readable(side: Side, finished: dict[str, Any]) -> None:
    """The answers are those of before. New code may add fields."""
    for url, before in finished.items():
        answers = side.answers(url)
        assert without_new_fields(answers, before) == before


def without_new_fields(answer: Any, before: Any) -> Any:
    """The answer without the fields of its objects that `before` does not have."""
    if isinstance(answer, dict) and isinstance(before, dict):
        names = answer.keys() & before.keys()
        return {name: without_new_fields(answer[name], before[name]) for name in names}
    if isinstance(answer, list) and isinstance(before, list) and len(answer) == len(before):
        return [without_new_fields(*pair) for pair in zip(answer, before, strict=True)]
    return answer


@dataclass
class LongJobs:
    """Operations that have begun in the old code before the tables change, by their URLs."""

    asking: str
    canceled: str
    handed_over: str
    sleeping: str
    talking: str
    seconds: float

    @classmethod
    def begin(cls, old: Side) -> "LongJobs":
        began = time.monotonic()
        old.stack.manage("migrate")
        # The sleep ends by itself, and later than the migrations on a machine as busy as now.
        seconds = 3 * (time.monotonic() - began) + LEASE
        jobs = cls(
            asking=old.submit("/approvals/"),
            canceled=old.submit("/waits/", calls=True),
            handed_over=old.submit("/waits/", calls=True),
            sleeping=old.submit("/api/sleeps/", seconds=seconds, steps=100),
            talking=old.submit("/talks/", dies=False),
            seconds=seconds,
        )
        for url in (jobs.canceled, jobs.handed_over, jobs.sleeping, jobs.talking):
            old.wait_for(url, "running")
        return jobs

    def end(self, old: Side, new: Side) -> None:
        """See all but one end in the old worker. The new web server cancels, answers and reads."""
        assert new.client.delete(self.canceled).status_code == 202
        old.wait_for(self.canceled, "canceled")
        answer = new.client.post(f"{self.asking}input/approve/", json={"approved": True})
        assert answer.status_code == 200
        assert new.result(self.asking) == {"answer": {"approved": True}}
        assert new.result(self.talking) == list(range(PARTS))
        events = new.get(f"{self.talking}log/")["events"]
        parts = [event["data"]["number"] for event in events if event["event"] == "part"]
        assert parts == list(range(PARTS))
        assert new.result(self.sleeping) == {"slept": self.seconds, "value": None}
        assert new.state(self.sleeping) == ("succeeded", 1)


def check_both_ways(old: Side, new: Side, receiver: Receiver) -> None:
    """Each side polls and cancels operations of the other one, and webhooks tell of them."""
    for here, there in ((old, new), (new, old)):
        url = here.submit("/hooked/", number=7, callback=receiver.url)
        assert there.result(url) == {"number": 7}
        message_id = f"{url.split('/')[-2]}.succeeded"
        wait_until(lambda: message_id in receiver.ids, seconds=WAIT_SECONDS)  # noqa: B023
        url = here.submit("/waits/", calls=True)
        there.wait_for(url, "running")
        assert there.client.delete(url).status_code == 202
        here.wait_for(url, "canceled")


def test_upgrade__old_and_new_processes_run_side_by_side(sides: tuple[Side, Side]) -> None:
    old, new = sides
    assert all(package(side) == side.stack.source / "async_reply" for side in sides)
    old_worker = old.start_worker()
    secret = old.client.post("/api/webhooks/callback-secret/").json()["secret"]
    finished = finished_operations(old)
    jobs = LongJobs.begin(old)
    new.stack.manage("migrate")
    states = {old.state(url) for url in (jobs.canceled, jobs.handed_over, jobs.sleeping)}
    assert states == {("running", 1)}
    new.stack.start_web()
    with receiving() as receiver:
        check_both_ways(old, new, receiver)  # the old worker runs them
        jobs.end(old, new)
        new.start_worker()
        check_both_ways(old, new, receiver)
        assert new.state(jobs.handed_over) == ("running", 1)
        old.stop(old_worker)
        assert new.result(jobs.handed_over) == 2  # the attempt
        check_both_ways(old, new, receiver)  # the new worker runs them
        receiver.verify(secret)
    check_readable(old, finished)
    (old_web,) = old.stack.processes
    old.stop(old_web)
    assert new.result(new.submit("/echoes/", number=8)) == {"number": 8}
    check_readable(new, finished)
    lines = [line for lines in logs(sides).values() for line in lines]
    assert [line for line in lines if any(text in line for text in COMPLAINTS)] == []
