"""How many unfinished operations a caller may have.

A count alone is exceeded by all who count at once. Near the bound the submits under one quota
therefore take turns, by a lock of the database's that only they wait for.
"""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from django.db import Error, connections, transaction

from async_reply import conf
from async_reply.database import alias
from async_reply.exceptions import QuotaExceeded
from async_reply.models import Operation

#: With more places than that left nobody takes turns: so many submits under one quota at the same
#: instant would be needed to exceed the bound.
NEAR = 100
#: Seconds that one waits for another's turn on MariaDB; who waits in vain goes on without.
PATIENCE = 10


@dataclass(frozen=True)
class Quota:
    """The bound that one caller shares with nobody; nameless callers of a `view` share one."""

    owner: str
    view: str

    def is_near(self) -> bool:
        """Whether submits have to take turns; raises QuotaExceeded where none is allowed."""
        bound = _bound()
        if not bound:
            return False
        unfinished = self._count(bound)
        if unfinished >= bound:
            raise self._exceeded(bound)
        return unfinished >= bound - NEAR

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A transaction in which a row is inserted and `settle` is called after it."""
        using = alias()
        with ExitStack() as held:
            if connections[using].vendor == "mysql":
                # A lock of the session's: none ends with the transaction.
                held.enter_context(_session_lock(f"async_reply:{self._number(using)}"))
            with transaction.atomic(using=using):
                # Before others hear of the commit: a broker may be slow.
                transaction.on_commit(held.close, using=using, robust=True)
                yield

    def settle(self) -> None:
        """Raise QuotaExceeded where the row just inserted is one too many.

        Nobody else under this quota counts from here to the end of the turn: SQLite has one
        writer at a time.
        """
        using = alias()
        if connections[using].vendor == "postgresql":
            with connections[using].cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (self._number(using),))
        bound = _bound()
        if bound and self._count(bound + 1) > bound:
            raise self._exceeded(bound)

    def _count(self, most: int) -> int:
        unfinished = Operation.objects.unfinished().filter(owner=self.owner)
        if not self.owner:
            unfinished = unfinished.filter(view=self.view)
        return unfinished.values("pk")[:most].count()

    def _exceeded(self, bound: int) -> QuotaExceeded:
        if self.owner:
            whose = f"You have {bound} unfinished operations"
        else:
            whose = f"Callers without a name have {bound} unfinished operations here"
        return QuotaExceeded(f"{whose}, which is the most allowed: wait until some have finished.")

    def _number(self, using: str) -> int:
        """This quota's number among all databases of a server: MariaDB's locks are shared."""
        name = f"{connections[using].settings_dict['NAME']}:{self.owner}"
        if not self.owner:
            name += f":{self.view}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)


def _bound() -> int:
    """The most unfinished operations under one quota; 0 for no bound."""
    bound: int = conf.get("MAX_UNFINISHED")
    return bound


@contextmanager
def _session_lock(name: str) -> Iterator[None]:
    connection = connections[alias()]
    with connection.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(%s, %s)", (name, PATIENCE))
    try:
        yield
    finally:
        # Where the connection is gone, so is the lock.
        with suppress(Error), connection.cursor() as cursor:
            cursor.execute("SELECT RELEASE_LOCK(%s)", (name,))
