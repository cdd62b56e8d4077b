from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency import get_implementation
from django.db import connection

from async_reply.checks import pools
from async_reply.database import pooling
from tests.conftest import configure_celery


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("prefork", "prefork"),
        ("processes", "prefork"),
        ("threads", "threads"),
        ("celery.concurrency.gevent:TaskPool", "gevent"),
        (get_implementation("prefork"), "prefork"),
        (get_implementation("threads"), "threads"),
        (get_implementation("solo"), "solo"),
        (get_implementation("gevent"), "gevent"),
        (type(None), "builtins"),
    ],
)
def test_name_of(pool: object, expected: str) -> None:
    assert pools.name_of(pool) == expected


@pytest.mark.parametrize(
    ("pool", "driver", "expected"),
    [
        ("prefork", "sqlite3", []),
        ("threads", "sqlite3", [130]),
        ("solo", "psycopg", [130]),
        ("gevent", "psycopg", [131]),
        ("gevent", "pymysql", [131]),
        ("gevent", "MySQLdb", [131, 132]),
        ("eventlet", "sqlite3", [131, 132]),
        ("of_my_own", "sqlite3", []),
    ],
)
def test_shortcomings(
    pool: str, driver: str, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_celery(monkeypatch, db_reuse_max=None)
    assert [each.number for each in pools.shortcomings(pool, driver=driver)] == expected


@pytest.mark.parametrize(
    ("pool", "expected"), [("gevent", [131, 133]), ("eventlet", [131, 133]), ("prefork", [])]
)
def test_shortcomings__connections_that_are_kept(
    pool: str, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_celery(monkeypatch, db_reuse_max=1000)
    told = [each.number for each in pools.shortcomings(pool, driver="psycopg")]
    assert told == expected


@pytest.fixture
def pooled(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Give the operations' database a pool of connections."""

    def set_pool(pool: Any) -> None:
        options = {**connection.settings_dict["OPTIONS"], "pool": pool}
        monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)

    return set_pool


@pytest.mark.parametrize(
    ("pool", "sizes"),
    [
        (None, (0, 0)),
        (False, (0, 0)),
        (True, (4, 4)),
        ({"min_size": 1}, (1, 1)),
        ({"min_size": 1, "max_size": 8}, (1, 8)),
        ({"max_size": 8}, (4, 8)),
        ({"timeout": 3}, (4, 4)),
    ],
)
def test_sizes__are_those_psycopg_makes_of_the_options(
    pool: Any, sizes: tuple[int, int], pooled: Callable[[Any], None]
) -> None:
    pooled(pool)
    assert pooling.sizes() == sizes


@pytest.mark.parametrize(
    ("pool", "size", "concurrency", "wanted"),
    [
        ("prefork", None, 4, 4 * 2 + 3),
        ("prefork", True, 4, 4 * 5 + 3),
        ("threads", None, 4, 4 + 1 + 3),
        ("threads", {"max_size": 8}, 4, 8 + 1 + 3),
        ("gevent", None, 100, 100 + 1 + 3),
        ("solo", None, 1, 2 + 3),
    ],
)
def test_connections_wanted(
    pool: str, size: Any, concurrency: int, wanted: int, pooled: Callable[[Any], None]
) -> None:
    pooled(size)
    assert pools.connections_wanted(pool, concurrency) == wanted


@pytest.mark.parametrize(
    ("pool", "size", "concurrency", "expected"),
    [
        ("threads", True, 4, []),
        ("threads", True, 5, [123]),
        ("threads", True, None, []),
        ("threads", {"min_size": 1, "max_size": 5}, 5, []),
        ("gevent", {"max_size": 20}, 100, [123]),
        ("prefork", True, 4, [125]),
        ("solo", {"max_size": 1}, 1, [125]),
        ("prefork", None, 4, []),
    ],
)
def test_shortcomings__pool_of_connections(
    pool: str, size: Any, concurrency: int, expected: list[int], pooled: Callable[[Any], None]
) -> None:
    pooled(size)
    told = pools.shortcomings(pool, driver="psycopg", concurrency=concurrency)
    assert [each.number for each in told if each.number < 130] == expected


@pytest.mark.parametrize(("pool", "told"), [("prefork", []), ("solo", ["W130"])])
def test_worker__says_what_its_pool_cannot_do(
    pool: str, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    kept = SimpleNamespace(pool=object.__new__(get_implementation(pool)))
    pools.warn_of_pool(sender=kept)
    assert [record.getMessage().split()[0] for record in caplog.records] == [
        f"async_reply.{each}:" for each in told
    ]


@pytest.mark.parametrize(
    ("controller", "most"),
    [
        ({"concurrency": 3, "max_concurrency": None}, 3),
        ({"concurrency": 3, "max_concurrency": 10}, 10),
        ({}, 0),
    ],
)
def test_worker__counts_the_most_processes_it_may_have(
    controller: dict[str, Any], most: int
) -> None:
    """With --autoscale there are more than at its start."""
    pool = object.__new__(get_implementation("threads"))
    sender = SimpleNamespace(pool=pool, controller=SimpleNamespace(**controller))
    assert pools._pool_of(sender) == ("threads", most)


@pytest.mark.django_db
def test_worker__says_where_it_gets_fewer_connections_than_it_wants(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limits = {connection.vendor: (("max_connections",), "SELECT 10")}
    monkeypatch.setattr(pools, "LIMITS", limits)
    assert pools.warn_of_connections("prefork", 3) == 0
    assert "W124" not in caplog.text
    assert pools.warn_of_connections("prefork", 4) == 0
    assert "async_reply.W124: A worker of pool prefork and concurrency 4 opens up to 11" in (
        caplog.text
    )
