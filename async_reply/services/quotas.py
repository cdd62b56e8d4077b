"""Bounds how many unfinished operations a caller may have, when a view submits.

Submits that count at the same time would exceed the bound together. Near the bound, submits under
one quota therefore take turns, by a lock of the database that no other submit waits for.
"""

import hashlib
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from django.db import Error, connections, transaction

from async_reply import conf
from async_reply.database import alias, statements
from async_reply.exceptions import QuotaExceeded
from async_reply.models import Operation
from async_reply.status import UNFINISHED

#: Submits take turns when fewer places are left. Without turns, so many submits under one quota
#: at the same instant would be needed to exceed the bound.
TURNS_BELOW = 100
#: Seconds that a submit on MariaDB waits for its turn. After them it goes on without.
TURN_TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class Quota:
    """The bound for one owner. Callers without an owner share one for each view."""

    owner: str
    view: str

    def is_near(self) -> bool:
        """Whether submits have to take turns; raises QuotaExceeded if no operation is allowed."""
        bound = _bound()
        if not bound:
            return False
        unfinished = self._count(bound)
        if unfinished >= bound:
            raise self._exceeded(bound)
        return unfinished >= bound - TURNS_BELOW

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A transaction in which the caller inserts a row, and then calls `check_inserted`."""
        using = alias()
        with transaction.atomic(using=using):
            if connections[using].vendor == "mysql":
                _lock_until_transaction_ends(f"async_reply:{self._number(using)}", using)
            yield

    def check_inserted(self) -> None:
        """Raise QuotaExceeded if the row just inserted is one too many.

        From here on no other submit under this quota counts, until the outermost transaction
        ends. SQLite needs no lock for it: it has one writer at a time.
        """
        using = alias()
        if connections[using].vendor == "postgresql":
            with connections[using].cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (self._number(using),))
        bound = _bound()
        if bound and self._count(bound + 1) > bound:
            raise self._exceeded(bound)

    def _count(self, most: int) -> int:
        unfinished = {"status__in": sorted(UNFINISHED), "owner": self.owner}
        if not self.owner:
            unfinished["view"] = self.view
        return statements.count(Operation, alias(), unfinished, most=most)

    def _exceeded(self, bound: int) -> QuotaExceeded:
        if self.owner:
            whose = f"You have {bound} unfinished operations"
        else:
            whose = f"Callers without a name have {bound} unfinished operations here"
        return QuotaExceeded(f"{whose}, which is the most allowed: wait until some have finished.")

    def _number(self, using: str) -> int:
        """The number of this quota's lock. All databases of a MariaDB server share their locks."""
        name = f"{connections[using].settings_dict['NAME']}:{self.owner}"
        if not self.owner:
            name += f":{self.view}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)


def _bound() -> int:
    """The most unfinished operations under one quota; 0 for no bound."""
    bound: int = conf.get("MAX_UNFINISHED")
    return bound


def _lock_until_transaction_ends(name: str, using: str) -> None:
    """Take a lock of MariaDB's session, and release it when the outermost transaction ends.

    MariaDB has no lock that ends with a transaction, and Django tells nobody of a rollback. A
    hook for the commit tells of both: Django drops it after the commit, or at the rollback.
    The other hooks run later: a broker may be slow, and the lock must not wait for it.
    """
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(%s, %s)", (name, TURN_TIMEOUT_SECONDS))

    def release_now() -> None:
        release()

    # Called at most once.
    release = weakref.finalize(release_now, _release, connection, name)
    transaction.on_commit(release_now, using=using, robust=True)


def _release(connection: Any, name: str) -> None:
    # Without a connection the session has ended, and the lock with it.
    if connection.connection is not None:
        with suppress(Error), connection.cursor() as cursor:
            cursor.execute("SELECT RELEASE_LOCK(%s)", (name,))
