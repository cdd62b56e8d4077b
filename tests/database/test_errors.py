"""Which errors of which drivers mean that the database does not serve now."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    connection,
    connections,
)
from django.db.transaction import TransactionManagementError
from django.db.utils import ConnectionHandler

from async_reply.database import errors


class Psycopg(Exception):
    """An error of psycopg 3, which has `sqlstate`."""

    def __init__(self, sqlstate: str | None) -> None:
        self.sqlstate = sqlstate


class Psycopg2(Exception):
    """An error of psycopg2, which has `pgcode`."""

    def __init__(self, pgcode: str | None) -> None:
        self.pgcode = pgcode


class PyMySQL(Exception):
    """Since 2.0 it has a state as well, which most of MariaDB's errors share."""

    sqlstate = "HY000"


class Sqlite(Exception):
    def __init__(self, code: int) -> None:
        self.sqlite_errorcode = code


def caused(error: Error, cause: Exception | None) -> Error:
    """`error` as Django raises it, from the driver's."""
    error.__cause__ = cause
    return error


AWAY, CONFLICT, LOCKED, NEITHER = "away", "conflict", "locked", ""

#: What Django makes of each state, and what it means.
STATES = [
    ("08000", OperationalError, AWAY),
    ("08006", OperationalError, AWAY),
    ("08P01", OperationalError, AWAY),
    ("25006", InternalError, AWAY),
    ("25P02", InternalError, NEITHER),
    ("25P03", InternalError, AWAY),
    ("25P04", InternalError, AWAY),
    ("28P01", OperationalError, AWAY),
    ("3D000", OperationalError, AWAY),
    ("40001", OperationalError, CONFLICT),
    ("40003", OperationalError, AWAY),
    ("40P01", OperationalError, CONFLICT),
    ("53100", OperationalError, AWAY),
    ("53200", OperationalError, AWAY),
    ("53300", OperationalError, AWAY),
    ("55P03", OperationalError, LOCKED),
    ("57014", OperationalError, AWAY),
    ("57P01", OperationalError, AWAY),
    ("57P02", OperationalError, AWAY),
    ("57P03", OperationalError, AWAY),
    ("57P05", OperationalError, AWAY),
    ("58030", OperationalError, AWAY),
    ("XX001", InternalError, NEITHER),
    ("22P05", DataError, NEITHER),
    ("23505", IntegrityError, NEITHER),
    ("42501", ProgrammingError, NEITHER),
    ("42P01", ProgrammingError, NEITHER),
    ("54000", OperationalError, NEITHER),
]
#: Numbers as PyMySQL and mysqlclient give them, and the class that one of them has for each.
NUMBERS = [
    (0, InterfaceError, AWAY),
    (1020, OperationalError, CONFLICT),
    (1021, OperationalError, AWAY),
    (1040, OperationalError, AWAY),
    (1045, OperationalError, AWAY),
    (1047, OperationalError, AWAY),
    (1049, OperationalError, AWAY),
    (1053, OperationalError, AWAY),
    (1054, OperationalError, NEITHER),
    (1062, IntegrityError, NEITHER),
    (1129, OperationalError, AWAY),
    (1130, OperationalError, AWAY),
    (1142, OperationalError, NEITHER),
    (1146, ProgrammingError, NEITHER),
    (1153, OperationalError, NEITHER),
    (1203, OperationalError, AWAY),
    (1205, OperationalError, LOCKED),
    (1213, OperationalError, CONFLICT),
    (1226, OperationalError, AWAY),
    (1290, OperationalError, AWAY),
    (1317, OperationalError, AWAY),
    (1366, DataError, NEITHER),
    (1792, OperationalError, AWAY),
    (1836, OperationalError, AWAY),
    (1927, OperationalError, AWAY),
    (1969, OperationalError, AWAY),
    (2002, OperationalError, AWAY),
    (2003, OperationalError, AWAY),
    (2005, OperationalError, AWAY),
    (2006, OperationalError, AWAY),
    (2006, InterfaceError, AWAY),
    (2013, OperationalError, AWAY),
    (2014, ProgrammingError, AWAY),
    (2055, OperationalError, AWAY),
    (4031, OperationalError, AWAY),
]
CODES = [
    (sqlite3.SQLITE_ERROR, OperationalError, NEITHER),
    (sqlite3.SQLITE_BUSY, OperationalError, AWAY),
    (sqlite3.SQLITE_BUSY_SNAPSHOT, OperationalError, AWAY),
    (sqlite3.SQLITE_LOCKED, OperationalError, AWAY),
    (sqlite3.SQLITE_READONLY, OperationalError, AWAY),
    (sqlite3.SQLITE_READONLY_DBMOVED, OperationalError, AWAY),
    (sqlite3.SQLITE_IOERR_WRITE, OperationalError, AWAY),
    (sqlite3.SQLITE_FULL, OperationalError, AWAY),
    (sqlite3.SQLITE_CANTOPEN, OperationalError, AWAY),
    (sqlite3.SQLITE_PROTOCOL, OperationalError, AWAY),
    (sqlite3.SQLITE_CORRUPT, DatabaseError, NEITHER),
    (sqlite3.SQLITE_NOTADB, DatabaseError, NEITHER),
    (sqlite3.SQLITE_CONSTRAINT_UNIQUE, IntegrityError, NEITHER),
    (sqlite3.SQLITE_MISUSE, InterfaceError, NEITHER),
]
#: Errors without a code: of drivers that have lost their connection, or never had one.
CODELESS = [
    (caused(OperationalError("connection refused"), Psycopg(None)), AWAY),
    (caused(OperationalError("couldn't get a connection after 30 s"), Psycopg(None)), AWAY),
    (caused(DatabaseError("error with status PGRES_TUPLES_OK"), Psycopg2(None)), AWAY),
    (caused(InternalError("Packet sequence number wrong"), Exception()), AWAY),
    (InterfaceError("connection already closed"), AWAY),
    (OperationalError(), AWAY),
    (DatabaseError("Forced update did not affect any rows."), NEITHER),
    (TransactionManagementError("in an atomic block"), NEITHER),
    (NotSupportedError("not here"), NEITHER),
    (ProgrammingError("the cursor is closed"), NEITHER),
    (ConnectionError("of a broker or a storage"), NEITHER),
]

TABLE = [
    *((caused(kind("said"), Psycopg(state)), what) for state, kind, what in STATES),
    *((caused(kind("said"), Psycopg2(state)), what) for state, kind, what in STATES),
    *((caused(kind(number, "said"), Exception()), what) for number, kind, what in NUMBERS),
    *((caused(kind(number, "said"), PyMySQL()), what) for number, kind, what in NUMBERS),
    *((caused(kind("said"), Sqlite(code)), what) for code, kind, what in CODES),
    *CODELESS,
]


def named(value: Any) -> str | None:
    if not isinstance(value, Exception):
        return None
    cause = value.__cause__
    return f"{type(cause).__name__}-{vars(cause) if cause else ''}-{value!r}"


@pytest.mark.parametrize(("error", "expected"), TABLE, ids=named)
def test_outages__driver_and_code(error: Exception, expected: str) -> None:
    assert errors.is_temporary(error) == (expected != NEITHER)
    assert errors.is_away(error) == (expected == AWAY)
    assert errors.is_conflict(error) == (expected == CONFLICT)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (caused(DataError("too long"), Psycopg("22001")), True),
        (caused(IntegrityError("deferred"), Psycopg("23503")), True),
        (caused(OperationalError("too large"), Psycopg("54000")), True),
        (OperationalError(1153, "max_allowed_packet"), True),
        (OperationalError(1290, "--read-only"), False),
        (caused(InternalError("read-only"), Psycopg("25006")), False),
        (OperationalError("gone"), False),
        (ValueError("too long"), False),
    ],
    ids=named,
)
def test_is_refusal__value_that_no_other_time_will_do(error: Exception, expected: bool) -> None:
    assert errors.is_refusal(error) == expected


# What real servers and drivers say.


def _sqlite_locked(path: Path) -> Iterator[Any]:
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield "PRAGMA user_version"


def _sqlite_query_only(path: Path) -> Iterator[Any]:
    yield "PRAGMA query_only = 1"


def _sqlite_gone(path: Path) -> Iterator[Any]:
    path.rename(path.with_suffix(".gone"))
    path.mkdir()
    yield "PRAGMA user_version"


def execute(connection: Any, statements: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.mark.django_db
@pytest.mark.parametrize("trouble", [_sqlite_locked, _sqlite_query_only, _sqlite_gone])
def test_is_away__sqlite_itself(trouble: Callable[[Path], Iterator[Any]], tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE t (a)")
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": path, "OPTIONS": {"timeout": 0.1}}
    another: Any = ConnectionHandler({"default": database})["default"]
    with (
        closing(another),
        contextmanager(trouble)(path) as first,
        pytest.raises(OperationalError) as raised,
    ):
        execute(another, [first, "INSERT INTO t VALUES (1)"])
    assert errors.is_away(raised.value)


LONG = "SELECT COUNT(*) FROM information_schema.columns a, information_schema.columns b"

#: Statements that make the server of the suite say what a failing one says, in a session.
SAID = {
    "postgresql": [
        (["SET default_transaction_read_only = on", "CREATE TABLE t (a int)"], AWAY),
        (["SELECT pg_terminate_backend(pg_backend_pid())"], AWAY),
        (["SET statement_timeout = 20", "SELECT pg_sleep(5)"], AWAY),
        (["SELECT 1 FROM nowhere"], NEITHER),
        (["SELECT 1 / 0"], NEITHER),
        (["DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"], CONFLICT),
        (["DO $$ BEGIN RAISE SQLSTATE '57P03'; END $$"], AWAY),
        (["DO $$ BEGIN RAISE SQLSTATE '53300'; END $$"], AWAY),
    ],
    "mysql": [
        (["START TRANSACTION READ ONLY", "UPDATE django_migrations SET name = name"], AWAY),
        (["KILL CONNECTION_ID()"], AWAY),
        (["SET max_statement_time = 0.02", LONG], AWAY),
        (["SELECT 1 FROM nowhere"], NEITHER),
        (["SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213"], CONFLICT),
        (["SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1290"], AWAY),
        (["SIGNAL SQLSTATE '08004' SET MYSQL_ERRNO = 1040"], AWAY),
    ],
    "sqlite": [(["SELECT 1 FROM nowhere"], NEITHER)],
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("statements", "expected"), SAID[connection.vendor])
def test_outages__server_of_this_suite(statements: list[str], expected: str) -> None:
    copy: Any = connections["default"].copy()
    try:
        with pytest.raises(Error) as raised:
            execute(copy, statements)
    finally:
        copy.close()
    assert errors.is_away(raised.value) == (expected == AWAY), repr(raised.value)
    assert errors.is_conflict(raised.value) == (expected == CONFLICT)
