"""PostgreSQL is read-only for some seconds, and ends its sessions, as in a failover."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest

from tests.stacks.services import POSTGRESQL
from tests.stacks.stack import Stack, follow, prepared, wait_until

pytestmark = [pytest.mark.system, pytest.mark.slow]


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with prepared(
        tmp_path_factory.mktemp("failover"),
        database="postgresql",
        broker="files",
        settings="tests.settings",
        lease=10,
    ) as running:
        running.start_worker("--concurrency", "3")
        yield running


@contextmanager
def read_only(stack: Stack) -> Iterator[None]:
    name = stack.environment["DATABASE_URL"].rpartition("/")[2]
    change(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    end_sessions(name)
    try:
        yield
    finally:
        change(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        end_sessions(name)


def change(statement: str, *parameters: Any) -> None:
    import psycopg

    with psycopg.connect(f"postgresql://{POSTGRESQL}/postgres", autocommit=True) as connection:
        connection.execute(statement.encode(), parameters)


def end_sessions(name: str) -> None:
    change("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name)


def submit(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/api/sleeps/", json=body)


def test_failover__jobs_run_once_and_submits_get_503(stack: Stack) -> None:
    """Two jobs end during the failover, and one runs longer."""
    with stack.client() as client:
        jobs = [submit(client, seconds=seconds, steps=10, value=7) for seconds in (2, 3, 14)]
        for job in jobs:
            wait_until(partial(is_running, client, job), seconds=60)
        refused: list[httpx.Response] = []
        with read_only(stack):
            wait_until(lambda: ask(client, refused), seconds=30)
            # Two of the jobs end meanwhile.
            threading.Event().wait(5)
            refused.append(submit(client, seconds=0))
        later = submit(client, seconds=0, value=7)
        assert [refusal.status_code for refusal in refused] == [503] * len(refused)
        assert {refusal.headers["Retry-After"] for refusal in refused} == {"5"}
        for answer in (*jobs, later):
            reply = follow(client, answer.headers["Location"], seconds=90)
            assert (reply.status_code, reply.json()["value"]) == (200, 7)
            document = client.get(answer.headers["Operation-Location"]).json()
            assert document["attempt"] == 1


def ask(client: httpx.Client, refused: list[httpx.Response]) -> bool:
    refused.append(submit(client, seconds=0))
    return len(refused) >= 3


def is_running(client: httpx.Client, accepted: httpx.Response) -> bool:
    document = client.get(accepted.headers["Operation-Location"]).json()
    return bool(document["status"] == "running")
