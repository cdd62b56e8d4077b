"""A job harms its process, and the next jobs of a worker with one process run nevertheless."""

import uuid
from collections.abc import Iterator

import httpx
import pytest

from tests.stacks.stack import Stack, follow, prepared, wait_until

pytestmark = [pytest.mark.system, pytest.mark.slow]

PAIRINGS = ["sqlite+files", "postgresql+rabbitmq"]


@pytest.fixture(scope="module", params=PAIRINGS)
def disturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A stack with a lease of five minutes, so that the end of a lease brings no job back here."""
    database, broker = request.param.split("+")
    with prepared(
        tmp_path_factory.mktemp("disturbed"),
        database=database,
        broker=broker,
        settings="tests.settings",
        lease=300,
    ) as running:
        yield running


@pytest.fixture
def client(disturbed: Stack) -> Iterator[httpx.Client]:
    with disturbed.client() as client:
        yield client


def status(client: httpx.Client, accepted: httpx.Response) -> str:
    text: str = client.get(accepted.headers["Operation-Location"]).json()["status"]
    return text


def end(client: httpx.Client, accepted: httpx.Response) -> str:
    wait_until(lambda: status(client, accepted) in {"succeeded", "failed"}, seconds=60)
    return status(client, accepted)


WAYS = {
    # These leave a transaction open, with locks on each row.
    "generator": "failed",
    "autocommit": "succeeded",
    "begin": "succeeded",
    # These change what the next claim in the process needs.
    "session": "succeeded",
    "loop": "succeeded",
    "descriptors": "succeeded",
    "mind": "succeeded",
}


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
@pytest.mark.parametrize("way", WAYS)
def test_job__that_harms_its_process(
    disturbed: Stack, client: httpx.Client, way: str, pool: str
) -> None:
    name = f"{way}-{pool}-{uuid.uuid4().hex[:8]}"
    options = ("--pool", pool, "--concurrency", "1", "--hostname", f"{name}@%h")
    worker = disturbed.start_worker(*options, name=name)
    first = client.post("/disturbances/", json={"way": way})
    assert end(client, first) == WAYS[way]
    others = [client.post("/echoes/", json={"number": number}) for number in range(5)]
    try:
        wait_until(
            lambda: worker.popen.poll() is not None or status(client, others[-1]) == "succeeded",
            seconds=90,
        )
        if worker.popen.poll() is not None:
            # Such a pool cannot replace a process. The worker ends, and its supervisor restarts it.
            assert (pool != "prefork", way in {"descriptors", "mind"}) == (True, True)
            disturbed.end(worker)
            worker = disturbed.start_worker(*options, name=f"{name}-anew")
        replies = [follow(client, answer.headers["Location"], seconds=90) for answer in others]
        assert [reply.json() for reply in replies] == [{"number": number} for number in range(5)]
        attempts = {
            client.get(answer.headers["Operation-Location"]).json()["attempt"] for answer in others
        }
        assert attempts == {1}
    finally:
        disturbed.end(worker)


@pytest.mark.parametrize(
    ("way", "result"),
    [
        ("fork", "parent"),
        ("fork_that_fails", "parent of 1"),
        ("fork_that_exits", "parent of 7"),
        ("process", "parent of 0"),
    ],
)
@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_fork__by_a_job_does_not_end_its_operation(
    disturbed: Stack, client: httpx.Client, way: str, result: str, pool: str
) -> None:
    name = f"{way}-{pool}-{uuid.uuid4().hex[:8]}"
    options = ("--pool", pool, "--concurrency", "1", "--hostname", f"{name}@%h")
    worker = disturbed.start_worker(*options, name=name)
    try:
        accepted = client.post("/disturbances/", json={"way": way})
        assert follow(client, accepted.headers["Location"], seconds=60).json() == result
        other = client.post("/echoes/", json={"number": 7})
        assert follow(client, other.headers["Location"], seconds=60).json() == {"number": 7}
    finally:
        disturbed.end(worker)
