"""What a job leaves open or changed in its database sessions ends with the job.

A worker uses its connections again. A transaction that a job leaves open would swallow the
outcome, keep its locks from everybody else, and hold what later jobs of the process write.
"""

import gc
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import connections

from async_reply.logs import logger

#: Statements that leave nothing behind once their transaction is over.
_PLAIN = re.compile(
    r"[\s(]*(SELECT|INSERT|UPDATE|DELETE|WITH|VALUES|MERGE|EXPLAIN)\b"
    r"|(SAVEPOINT|RELEASE|ROLLBACK TO)\b",
    re.IGNORECASE,
)
#: Parts of such statements that change their session all the same.
_CHANGING = re.compile(
    r"set_config\s*\(|advisory_lock|\bget_lock\s*\(|\binto\s+(local\s+)?temp|:=|;\s*\S",
    re.IGNORECASE,
)


#: Statements that open a transaction by themselves.
_BEGINNING = re.compile(r"\s*(BEGIN|START\s+TRANSACTION|SET\s.*\bautocommit)\b", re.IGNORECASE)


class Sessions:
    """The database connections of this thread, as they are when a job begins.

    The transactions that are open by then belong to a caller, and stay as they are. `inline`, the
    sessions are the caller's as well, and only transactions are ended.
    """

    def __init__(self, *, inline: bool) -> None:
        self._inline = inline
        self._callers = {
            connection.alias: len(connection.atomic_blocks)
            for connection in connections.all(initialized_only=True)
            if _is_open(connection)
        }
        self._changed: set[str] = set()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While the job runs: its statements tell which sessions it may have changed."""
        kept = [(connection, list(connection.execute_wrappers)) for connection in connections.all()]
        for connection, _ in kept:
            connection.execute_wrappers.append(self._watch)
        try:
            yield
        finally:
            for connection, wrappers in kept:
                connection.execute_wrappers[:] = wrappers

    def _watch(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        connection = context["connection"]
        changes = _begins if self._inline else _changes
        if connection.alias not in self._changed and changes(sql, connection.vendor):
            self._changed.add(connection.alias)
        return execute(sql, params, many, context)

    def settle(self, error: BaseException | None = None) -> None:
        """Roll back and close each session that the job left otherwise than it found it.

        An `error` holds the job's frames, they hold its generators, and a generator may be in the
        midst of an `atomic()`: such generators are closed first.
        """
        left = self._left_open()
        if left:
            logger.warning("A job left a transaction open on %s: it is rolled back", left)
            if error is not None:
                _clear_frames(error)
            gc.collect()
        for alias in (self._changed | set(left)) - self._callers.keys():
            reset(connections[alias])
        self._changed.clear()

    def _left_open(self) -> list[str]:
        """Aliases with a transaction, or a block of a caller's, that was not there before."""
        return [
            connection.alias
            for connection in connections.all(initialized_only=True)
            if (
                self._callers[connection.alias] != len(connection.atomic_blocks)
                if connection.alias in self._callers
                else _is_open(connection)
            )
        ]


def reset_open() -> None:
    """End what an earlier task of this thread has left open: no transaction there has a caller."""
    for connection in connections.all(initialized_only=True):
        if _is_open(connection):
            reset(connection)


def reset(connection: Any) -> None:
    """Roll back and close; the next statement begins a new session, outside of any transaction."""
    with suppress(Exception):
        connection.connection.rollback()
    connection.in_atomic_block = connection.needs_rollback = False
    connection.closed_in_transaction = False
    connection.savepoint_ids, connection.atomic_blocks, connection.run_on_commit = [], [], []
    with suppress(Exception):
        connection.close()
    with suppress(Exception):
        # A database in SQLite's memory stays connected.
        if connection.connection is not None:
            connection.set_autocommit(connection.settings_dict["AUTOCOMMIT"])


def _is_open(connection: Any) -> bool:
    """Whether a transaction is open, or would be at the next statement."""
    if connection.in_atomic_block or connection.connection is None:
        return bool(connection.in_atomic_block)
    if connection.autocommit != connection.settings_dict["AUTOCOMMIT"]:
        return True
    return _is_in_transaction(connection)


def _is_in_transaction(connection: Any) -> bool:
    """What the driver knows without a word to the server: above all a BEGIN of the job's own.

    mysqlclient knows nothing. There the BEGIN counts as a change of the session.
    """
    driver = connection.connection
    with suppress(Exception):
        if connection.vendor == "postgresql":
            # 0 is idle. 4 is a broken connection, which the next statement finds out.
            return int(driver.info.transaction_status) not in (0, 4)
        if connection.vendor == "sqlite":
            return bool(driver.in_transaction)
        return bool(driver.server_status & 1)
    return False


def _changes(sql: Any, vendor: str) -> bool:
    """Whether a statement may leave its session changed."""
    if not isinstance(sql, str):
        return True
    if vendor == "sqlite" and sql.startswith("BEGIN"):
        # So atomic() begins there, and the driver knows whether it has ended.
        return False
    return _PLAIN.match(sql) is None or _CHANGING.search(sql) is not None


def _begins(sql: Any, vendor: str) -> bool:
    """Whether a statement opens a transaction that the driver may know nothing of."""
    return vendor == "mysql" and isinstance(sql, str) and _BEGINNING.match(sql) is not None


def _clear_frames(error: BaseException) -> None:
    """Clear the frames of `error`, of what it came from, and of what it is a group of."""
    errors: list[BaseException | None] = [error]
    seen: set[int] = set()
    while errors:
        one = errors.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        with suppress(Exception):
            traceback.clear_frames(one.__traceback__)
        with suppress(Exception):
            errors += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
