"""Ends the transactions and resets the database sessions that a job leaves open or changed.

The worker uses its connections again for the next job. A transaction left open would keep its
locks, and would hold back all later writes of the process, this operation's outcome included.
"""

import gc
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import connections

from async_reply.logs import logger

#: Statements that leave nothing behind when their transaction is over.
_HARMLESS = re.compile(
    r"[\s(]*(SELECT|INSERT|UPDATE|DELETE|WITH|VALUES|MERGE|EXPLAIN)\b"
    r"|(SAVEPOINT|RELEASE|ROLLBACK TO)\b",
    re.IGNORECASE,
)
#: Parts that change the session even in such statements.
_SESSION_CHANGE = re.compile(
    r"set_config\s*\(|advisory_lock|\bget_lock\s*\(|\binto\s+(local\s+)?temp|:=|;\s*\S",
    re.IGNORECASE,
)
#: Statements that open a transaction without Django.
_BEGIN = re.compile(r"\s*(BEGIN|START\s+TRANSACTION|SET\s.*\bautocommit)\b", re.IGNORECASE)


class Sessions:
    """The database sessions of this thread, from the beginning of a job to its end.

    Transactions that were open before the job belong to its caller and stay open. An `inline` job
    also uses the caller's sessions. There only the job's own transactions are ended.
    """

    def __init__(self, *, inline: bool) -> None:
        self._inline = inline
        self._caller_depths = depths()
        self._changed: set[str] = set()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note in the block which sessions the job's statements may have changed."""
        wrappers_before = [
            (connection, list(connection.execute_wrappers)) for connection in connections.all()
        ]
        for connection, _ in wrappers_before:
            connection.execute_wrappers.append(self._watch)
        try:
            yield
        finally:
            for connection, wrappers in wrappers_before:
                connection.execute_wrappers[:] = wrappers

    def _watch(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        connection = context["connection"]
        may_change = _begins_unnoticed if self._inline else _may_change_session
        if connection.alias not in self._changed and may_change(sql, connection.vendor):
            self._changed.add(connection.alias)
        return execute(sql, params, many, context)

    def clean_up(self, error: BaseException | None = None) -> None:
        """Roll back and close each session that the job left open or changed.

        An `error` of the job keeps its frames alive, and with them its generators. A generator
        may have stopped inside an `atomic()`, so generators are closed first.
        """
        open_aliases = changed_since(self._caller_depths)
        if open_aliases:
            logger.warning("A job left a transaction open on %s: it is rolled back", open_aliases)
            if error is not None:
                _clear_frames(error)
            gc.collect()
        for alias in (self._changed | set(open_aliases)) - self._caller_depths.keys():
            reset(connections[alias])
        self._changed.clear()


def depths() -> dict[str, int]:
    """The aliases on which this thread has a transaction, and how many blocks it has."""
    return {
        connection.alias: len(connection.atomic_blocks)
        for connection in connections.all(initialized_only=True)
        if _is_open(connection)
    }


def changed_since(depths: dict[str, int]) -> list[str]:
    """Aliases on which a transaction was opened since, or one was ended."""
    return [
        connection.alias
        for connection in connections.all(initialized_only=True)
        if (
            depths[connection.alias] != len(connection.atomic_blocks)
            if connection.alias in depths
            else _is_open(connection)
        )
    ]


def reset_open() -> None:
    """End the transactions that an earlier task of this thread left open."""
    for connection in connections.all(initialized_only=True):
        if _is_open(connection):
            reset(connection)


def reset(connection: Any) -> None:
    """Roll back and close. The next statement begins a new session, without a transaction."""
    with suppress(Exception):
        connection.connection.rollback()
    connection.in_atomic_block = connection.needs_rollback = False
    connection.closed_in_transaction = False
    connection.savepoint_ids, connection.atomic_blocks, connection.run_on_commit = [], [], []
    with suppress(Exception):
        connection.close()
    with suppress(Exception):
        # Django does not close a database in SQLite's memory.
        if connection.connection is not None:
            connection.set_autocommit(connection.settings_dict["AUTOCOMMIT"])


def _is_open(connection: Any) -> bool:
    """Whether a transaction is open, or opens with the next statement."""
    if connection.in_atomic_block or connection.connection is None:
        return bool(connection.in_atomic_block)
    if connection.autocommit != connection.settings_dict["AUTOCOMMIT"]:
        return True
    return _is_in_transaction(connection)


def _is_in_transaction(connection: Any) -> bool:
    """Whether the driver knows of a transaction, above all after a BEGIN that the job sent.

    No statement is sent. mysqlclient knows nothing, so with it BEGIN counts as a session change.
    """
    driver = connection.connection
    with suppress(Exception):
        if connection.vendor == "postgresql":
            # 0 is idle. 4 is a broken connection: the next statement will fail on it.
            return int(driver.info.transaction_status) not in (0, 4)
        if connection.vendor == "sqlite":
            return bool(driver.in_transaction)
        return bool(driver.server_status & 1)
    return False


def _may_change_session(sql: Any, vendor: str) -> bool:
    """Whether a statement may change its session beyond its transaction."""
    if not isinstance(sql, str):
        return True
    if vendor == "sqlite" and sql.startswith("BEGIN"):
        # Django's atomic() sends it, and the driver knows whether the transaction has ended.
        return False
    return _HARMLESS.match(sql) is None or _SESSION_CHANGE.search(sql) is not None


def _begins_unnoticed(sql: Any, vendor: str) -> bool:
    """Whether a statement opens a transaction of which the driver may not know."""
    return vendor == "mysql" and isinstance(sql, str) and _BEGIN.match(sql) is not None


def _clear_frames(error: BaseException) -> None:
    """Clear the frames of `error`, of its causes, and of the errors in a group."""
    errors: list[BaseException | None] = [error]
    seen: set[int] = set()
    while errors:
        current = errors.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        with suppress(Exception):
            traceback.clear_frames(current.__traceback__)
        with suppress(Exception):
            errors += [current.__cause__, current.__context__, *getattr(current, "exceptions", ())]
