from collections.abc import Callable
from typing import Any

import pytest
from celery.concurrency import get_implementation
from django.db import connection
from pytest_django import Settings

from async_reply.database import pooling
from async_reply.worker import pools


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
def test_shortcomings(pool: str, driver: str, expected: list[int], settings: Settings) -> None:
    settings.CELERY_DB_REUSE_MAX = None
    assert [each.number for each in pools.shortcomings(pool, driver=driver)] == expected


@pytest.mark.parametrize(
    ("pool", "expected"), [("gevent", [131, 133]), ("eventlet", [131, 133]), ("prefork", [])]
)
def test_shortcomings__connections_that_are_kept(
    pool: str, expected: list[int], settings: Settings
) -> None:
    settings.CELERY_DB_REUSE_MAX = 1000
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
