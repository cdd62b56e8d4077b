"""A supervisor or a closed terminal ends a worker by a signal, and no running job fails."""

import os
import signal
import uuid
from collections.abc import Iterator

import httpx
import pytest

from demo_project.processes import Process
from tests.stacks.stack import Stack, follow, prepared, wait_until

pytestmark = [pytest.mark.system, pytest.mark.faults]

PAIRINGS = ["postgresql+rabbitmq"]
ALL = [signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGINT]
REMAPPED = {"REMAP_SIGTERM": "SIGQUIT"}


@pytest.fixture(scope="module", params=PAIRINGS)
def deployed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A stack with a lease of five minutes, so that the end of a lease brings no job back here."""
    database, broker = request.param.split("+")
    with prepared(
        tmp_path_factory.mktemp("deployed"),
        database=database,
        broker=broker,
        settings="tests.settings",
        lease=300,
    ) as running:
        yield running


@pytest.fixture
def client(deployed: Stack) -> Iterator[httpx.Client]:
    with deployed.client() as client:
        yield client


def status(client: httpx.Client, accepted: httpx.Response) -> str:
    text: str = client.get(accepted.headers["Operation-Location"]).json()["status"]
    return text


def start(stack: Stack, name: str, *, pool: str, remap: bool) -> Process:
    before = dict(stack.environment)
    stack.environment.update(REMAPPED if remap else {})
    try:
        return stack.start_worker(
            *("--pool", pool, "--concurrency", "1", "--hostname", f"{name}@%h"), name=name
        )
    finally:
        stack.environment = before


@pytest.mark.parametrize("remap", [False, True], ids=["plain", "remapped"])
@pytest.mark.parametrize("number", ALL, ids=lambda number: number.name)
@pytest.mark.parametrize(
    ("pool", "to_group"),
    [("prefork", True), ("prefork", False), ("solo", True), ("threads", True)],
    ids=["prefork-group", "prefork-main", "solo", "threads"],
)
def test_stop__gives_the_job_to_another_worker(
    deployed: Stack,
    client: httpx.Client,
    pool: str,
    to_group: bool,
    number: signal.Signals,
    remap: bool,
) -> None:
    name = f"{pool}-{number.name}-{uuid.uuid4().hex[:8]}"
    old = start(deployed, name, pool=pool, remap=remap)
    new = None
    try:
        accepted = client.post("/waits/", json={"calls": True})
        wait_until(lambda: status(client, accepted) == "running", seconds=60)
        (os.killpg if to_group else os.kill)(old.popen.pid, number)
        new = start(deployed, f"{name}-next", pool=pool, remap=remap)
        assert follow(client, accepted.headers["Location"], seconds=90).json() == 2
    finally:
        for worker in filter(None, (old, new)):
            deployed.end(worker)
    rows = deployed.manage(
        "shell",
        "-c",
        "from async_reply.models import OperationAttempt as A; print('attempts', *"
        f"A.objects.filter(operation='{accepted.headers['Operation-Id']}')"
        ".values_list('outcome', 'operation__losses'))",
    )
    assert rows.splitlines()[-1] == "attempts ('released', 0)"
