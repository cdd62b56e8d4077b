"""Makes a database and a broker for one stack, and deletes them afterwards.

Each function yields environment variables. Other programs may use the same broker, so a stack has a
queue with its own name there.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from kombu import Connection

from tests.conftest import need_service

Environment = dict[str, str]
Service = Callable[[str], AbstractContextManager[Environment]]

POSTGRESQL = "postgres@127.0.0.1:5432"
REDIS = "redis://127.0.0.1:6379/2"
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"


@contextmanager
def sqlite_file(name: str) -> Iterator[Environment]:
    yield {"DATABASE_URL": ""}


@contextmanager
def postgresql(name: str) -> Iterator[Environment]:
    need_service("PostgreSQL", port=5432)
    _postgresql(f"CREATE DATABASE {name}")
    try:
        yield {"DATABASE_URL": f"postgres://{POSTGRESQL}/{name}"}
    finally:
        _postgresql(f"DROP DATABASE {name} WITH (FORCE)")


def _postgresql(statement: str) -> None:
    import psycopg

    with psycopg.connect(f"postgresql://{POSTGRESQL}/postgres", autocommit=True) as connection:
        connection.execute(statement.encode())


@contextmanager
def mariadb(name: str) -> Iterator[Environment]:
    need_service("MariaDB", port=3306)
    pytest.importorskip("pymysql")
    _mariadb(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    try:
        yield {"DATABASE_URL": f"mysql://root@127.0.0.1:3306/{name}"}
    finally:
        _mariadb(f"DROP DATABASE {name}")


def _mariadb(statement: str) -> None:
    import pymysql

    with pymysql.connect(host="127.0.0.1", user="root", autocommit=True) as connection:
        connection.cursor().execute(statement)


@contextmanager
def folder(name: str) -> Iterator[Environment]:
    yield {"CELERY_BROKER_URL": ""}


@contextmanager
def redis(name: str) -> Iterator[Environment]:
    pytest.importorskip("redis", reason="needs the extra redis")
    need_service("Redis", port=6379)
    with _queue(REDIS, name) as environment:
        yield environment


@contextmanager
def rabbitmq(name: str) -> Iterator[Environment]:
    need_service("RabbitMQ", port=5672)
    with _queue(RABBITMQ, name) as environment:
        yield environment


@contextmanager
def _queue(url: str, name: str) -> Iterator[Environment]:
    try:
        yield {"CELERY_BROKER_URL": url, "DEMO_QUEUE": name}
    finally:
        with Connection(url) as connection:
            channel: Any = connection.default_channel
            channel.queue_delete(name)
            # Celery gives the exchange of a queue the same name.
            channel.exchange_delete(name)


DATABASES: dict[str, Service] = {
    "sqlite": sqlite_file,
    "postgresql": postgresql,
    "mariadb": mariadb,
}
BROKERS: dict[str, Service] = {"files": folder, "redis": redis, "rabbitmq": rabbitmq}


def versions() -> Iterator[str]:
    """Name and version of SQLite and of each server. Servers that do not answer are absent."""
    yield f"SQLite {sqlite3.sqlite_version}"
    for ask in (_postgresql_version, _mariadb_version, _redis_version, _rabbitmq_version):
        try:
            yield ask()
        except Exception as error:  # noqa: BLE001 each client fails in its own way
            yield f"{ask.__name__.strip('_').removesuffix('_version')} absent ({error})"


def _postgresql_version() -> str:
    import psycopg

    with psycopg.connect(f"postgresql://{POSTGRESQL}/postgres") as connection:
        major, minor = divmod(connection.info.server_version, 10_000)
        return f"PostgreSQL {major}.{minor}"


def _mariadb_version() -> str:
    import pymysql

    with pymysql.connect(host="127.0.0.1", user="root") as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT version()")
        return f"MariaDB {cursor.fetchall()[0][0].partition('-')[0]}"


def _redis_version() -> str:
    with Connection(REDIS) as connection:
        channel: Any = connection.default_channel
        return f"Redis {channel.client.info()['redis_version']}"


def _rabbitmq_version() -> str:
    with Connection(RABBITMQ) as connection:
        connection.connect()
        return f"RabbitMQ {connection.connection.server_properties['version']}"
