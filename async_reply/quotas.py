"""How many unfinished operations an owner may have.

A count alone is exceeded by all who count at once. Near the bound an owner's submits therefore
take turns, by a lock of the database's that only submits of the same owner wait for.
"""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from django.db import DatabaseError, connections, transaction

from async_reply import conf
from async_reply.exceptions import QuotaExceeded
from async_reply.models import Operation, database

#: With more places than that left nobody takes turns: so many submits of one owner at the same
#: instant would be needed to exceed the bound.
NEAR = 100
#: Seconds that one waits for another's turn on MariaDB; who waits in vain goes on without.
PATIENCE = 10


def check(owner: str) -> bool:
    """Raise QuotaExceeded when `owner` has as many as allowed; whether turns are to be taken."""
    bound = _bound(owner)
    if not bound:
        return False
    unfinished = _count(owner, bound)
    if unfinished >= bound:
        raise _exceeded(bound)
    return unfinished >= bound - NEAR


@contextmanager
def turn(owner: str) -> Iterator[None]:
    """A transaction in which `owner` inserts a row and then calls `settle`."""
    using = database()
    with ExitStack() as held:
        if connections[using].vendor == "mysql":
            # A lock of the session's: none ends with the transaction.
            held.enter_context(_session_lock(f"async_reply:{_number(using, owner)}"))
        with transaction.atomic(using=using):
            # Before others hear of the commit: a broker may be slow.
            transaction.on_commit(held.close, using=using, robust=True)
            yield


def settle(owner: str) -> None:
    """Raise QuotaExceeded where the row just inserted is one too many.

    Nobody else of the owner's counts from here to the end of the turn: SQLite has one writer at
    a time.
    """
    using = database()
    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_number(using, owner),))
    bound = _bound(owner)
    if bound and _count(owner, bound + 1) > bound:
        raise _exceeded(bound)


def _bound(owner: str) -> int:
    """The most that `owner` may have; 0 for no bound."""
    bound: int = conf.get("MAX_UNFINISHED")
    return bound if owner else 0


def _count(owner: str, most: int) -> int:
    unfinished = Operation.objects.unfinished().filter(owner=owner)
    return unfinished.values("pk")[:most].count()


def _exceeded(bound: int) -> QuotaExceeded:
    return QuotaExceeded(
        f"You have {bound} unfinished operations, which is the most allowed: "
        "wait until some have finished."
    )


@contextmanager
def _session_lock(name: str) -> Iterator[None]:
    connection = connections[database()]
    with connection.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(%s, %s)", (name, PATIENCE))
    try:
        yield
    finally:
        # Where the connection is gone, so is the lock.
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT RELEASE_LOCK(%s)", (name,))


def _number(using: str, owner: str) -> int:
    """An owner's number among all databases of a server: MariaDB's locks are shared by them."""
    name = f"{connections[using].settings_dict['NAME']}:{owner}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], signed=True)
