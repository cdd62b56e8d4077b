"""A heartbeat does not wait for a connection of a pool that jobs have emptied."""

from collections.abc import Iterator

import pytest

from tests.stacks.services import POSTGRESQL
from tests.stacks.stack import Stack, follow, prepared, wait_until

pytestmark = [pytest.mark.system, pytest.mark.slow]

#: A job takes several leases.
JOB_SECONDS = 7


@pytest.fixture
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack without a worker. A lease is two seconds, and a pool has four connections."""
    pytest.importorskip("psycopg_pool", reason="needs psycopg[pool]")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TESTS_POOL", "4")
        with prepared(
            tmp_path_factory.mktemp("pooled"),
            database="postgresql",
            broker="files",
            settings="tests.system.pooled",
            lease=2,
        ) as running:
            yield running


def attempts(stack: Stack, number: int, **body: object) -> list[int]:
    """Submit `number` sleeps; how many attempts each of them needed."""
    with stack.client() as client:
        accepted = [client.post("/api/sleeps/", json=body) for _ in range(number)]
        for answer in accepted:
            assert follow(client, answer.headers["Location"], seconds=120).status_code == 200
        monitors = [answer.headers["Operation-Location"] for answer in accepted]
        documents = [client.get(url).json() for url in monitors]
    return [document["attempt"] for document in documents]


@pytest.mark.parametrize(
    ("pool", "size"),
    [("threads", 1), ("threads", 4), ("threads", 8), ("prefork", 1), ("prefork", 4)],
)
def test_healthy_jobs__run_once_with_pools_of_each_size(
    pooled: Stack, pool: str, size: int
) -> None:
    """Four threads keep all connections. If heartbeats needed these too, each job would be lost."""
    pooled.environment["TESTS_POOL"] = str(size)
    worker = pooled.start_worker("--pool", pool, "--concurrency", "4")
    number = 6 if size > 1 or pool == "prefork" else 2
    assert attempts(pooled, number, seconds=JOB_SECONDS, steps=2) == [1] * number
    log = worker.log.read_text()
    assert ("async_reply.W123" in log) == (pool == "threads" and size < 4)
    assert ("async_reply.W125" in log) == (pool == "prefork")


def sessions(stack: Stack) -> list[str]:
    """The last statement of each session of the stack's database."""
    import psycopg

    name = stack.environment["DATABASE_URL"].rpartition("/")[2]
    sql = "SELECT query FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(f"postgresql://{POSTGRESQL}/postgres", autocommit=True) as connection:
        return [query for (query,) in connection.execute(sql, [name])]


def test_idle_worker__holds_one_connection(pooled: Stack) -> None:
    """The thread for cleanup runs once a minute, and closes its connection until then."""
    pooled.end(next(process for process in pooled.processes if process.name == "web"))
    worker = pooled.start_worker()
    wait_until(lambda: "ready." in worker.log.read_text(), seconds=60)
    wait_until(lambda: any("published_at" in query for query in sessions(pooled)), seconds=60)
    wait_until(lambda: len(sessions(pooled)) == 1, seconds=30)
