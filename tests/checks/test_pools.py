"""Shortcomings of Celery's pools: as checks report them, and as a starting worker logs them."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from celery.concurrency import get_implementation
from django.db import connection

from async_reply.checks import celery as celery_checks
from async_reply.checks import pools
from async_reply.database import pooling
from tests.checks.messages import ids
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


def numbers(pool: str, **options: Any) -> list[int]:
    """The numbers of the checks of a pool's shortcomings."""
    return [shortcoming.number for shortcoming in pools.shortcomings(pool, **options)]


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
    assert numbers(pool, driver=driver) == expected


@pytest.mark.parametrize(
    ("pool", "expected"), [("gevent", [131, 133]), ("eventlet", [131, 133]), ("prefork", [])]
)
def test_shortcomings__of_connections_that_stay_open(
    pool: str, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_celery(monkeypatch, db_reuse_max=1000)
    assert numbers(pool, driver="psycopg") == expected


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
def test_sizes__are_those_of_psycopg(
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
def test_shortcomings__of_a_pool_of_connections(
    pool: str, size: Any, concurrency: int, expected: list[int], pooled: Callable[[Any], None]
) -> None:
    pooled(size)
    found = numbers(pool, driver="psycopg", concurrency=concurrency)
    assert [number for number in found if number < 130] == expected


@pytest.mark.parametrize(("pool", "expected"), [("prefork", []), ("solo", ["async_reply.W130:"])])
def test_worker__logs_the_shortcomings_of_its_pool(
    pool: str, expected: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    consumer = SimpleNamespace(pool=object.__new__(get_implementation(pool)))
    pools.warn_of_pool(sender=consumer)
    assert [record.getMessage().split()[0] for record in caplog.records] == expected


@pytest.mark.parametrize(
    ("controller", "most"),
    [
        ({"concurrency": 3, "max_concurrency": None}, 3),
        ({"concurrency": 3, "max_concurrency": 10}, 10),
        ({}, 0),
    ],
)
def test_worker__counts_the_processes_of_autoscale(controller: dict[str, Any], most: int) -> None:
    """With --autoscale a worker may get more processes than it has at its start."""
    pool = object.__new__(get_implementation("threads"))
    sender = SimpleNamespace(pool=pool, controller=SimpleNamespace(**controller))
    assert pools._pool_of(sender) == ("threads", most)


@pytest.mark.django_db
def test_worker__logs_a_limit_of_connections_that_is_too_low(
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


@pytest.mark.parametrize(("reuse", "expected"), [(None, []), (1000, ["async_reply.W133"])])
def test_check__green_threads_must_not_reuse_connections(
    reuse: int | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_celery(monkeypatch, db_reuse_max=reuse)
    monkeypatch.setitem(current_app.conf, "worker_pool", "gevent")
    others = {"async_reply.W131", "async_reply.W132"}
    assert sorted(set(ids()) - others) == expected


def test_check__pool_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(current_app.conf, "worker_pool", "threads")
    assert ids() == ["async_reply.W130"]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="has no limit of connections")
@pytest.mark.parametrize(("concurrency", "expected"), [(2, []), (3, ["async_reply.W124"])])
@pytest.mark.django_db(transaction=True)
def test_check__limit_of_connections_is_too_low(
    concurrency: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes open two connections each, and the main process opens three."""
    monkeypatch.setitem(current_app.conf, "worker_concurrency", concurrency)
    if connection.vendor == "mysql":
        # The limit of an account is read by the same statement.
        limit = (pools.LIMITS["mysql"][0], "SELECT 7, @@max_connections")
        monkeypatch.setitem(pools.LIMITS, "mysql", limit)
        assert ids(databases=["default"]) == expected
        return
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 7")
        try:
            assert ids(databases=["default"]) == expected
        finally:
            cursor.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")


@pytest.mark.parametrize("concurrency", [None, "auto", 400])
def test_concurrency__is_known_if_it_is_a_number(
    concurrency: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(current_app.conf, "worker_concurrency", concurrency)
    assert celery_checks._concurrency() == (400 if concurrency == 400 else None)


@pytest.mark.parametrize(
    ("pool", "concurrency", "expected"),
    [
        ("threads", 5, ["async_reply.W123", "async_reply.W130"]),
        ("threads", 4, ["async_reply.W130"]),
        ("prefork", 4, ["async_reply.W125"]),
    ],
)
def test_check__pool_of_connections(
    pool: str, concurrency: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**connection.settings_dict["OPTIONS"], "pool": True}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    monkeypatch.setitem(current_app.conf, "worker_pool", pool)
    monkeypatch.setitem(current_app.conf, "worker_concurrency", concurrency)
    assert ids() == expected
