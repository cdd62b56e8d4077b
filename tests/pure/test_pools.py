import pytest
from celery.concurrency import get_implementation
from pytest_django import Settings

from async_reply import pools


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
