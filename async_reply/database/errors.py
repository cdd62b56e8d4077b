"""Tells temporary errors of the database from lasting ones, for whoever may try again.

After a temporary error a statement is tried again, or a client is told to come back: the server
restarts, fails over or has no free connection. A lasting error is about the statement itself (a
value, a permission, a missing table) and comes again each time. Drivers raise the same classes of
exceptions for both. Only the code that comes with the error tells them apart.
"""

from enum import Enum

from django.db import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
)


class Trouble(Enum):
    """Why a statement failed that may succeed later."""

    #: The server cannot be reached, or executes no statements now.
    AWAY = "away"
    #: The server rolled the transaction back in favor of another one.
    CONFLICT = "conflict"
    #: Another transaction has held a lock for longer than the statement may wait.
    LOCKED = "locked"


#: SQLSTATEs of PostgreSQL, and classes of them: the first two characters.
STATES = {
    "08": Trouble.AWAY,  # connection exceptions, those of pgbouncer included
    "28": Trouble.AWAY,  # no access: only while connecting
    "3D000": Trouble.AWAY,  # no such database: only while connecting
    "53": Trouble.AWAY,  # no connection, memory or disk left
    "57": Trouble.AWAY,  # shutting down, starting up, or a statement that took too long
    "58": Trouble.AWAY,  # an error of the server's operating system
    "25006": Trouble.AWAY,  # read-only: a standby, or the old primary of a failover
    "25P03": Trouble.AWAY,  # idle for too long in a transaction
    "25P04": Trouble.AWAY,  # a transaction that took too long
    "40003": Trouble.AWAY,  # it is unknown whether the statement was executed
    "40000": Trouble.CONFLICT,
    "40001": Trouble.CONFLICT,  # serialization failure, or a standby that applied changes
    "40P01": Trouble.CONFLICT,  # deadlock
    "55P03": Trouble.LOCKED,
}

#: Error numbers of MariaDB and MySQL servers. Numbers from 2000 to 2999 come from client libraries.
NUMBERS = {
    **dict.fromkeys(
        (
            *(0, 1927, 4031),  # the connection was closed, killed, or idle for too long
            *(1021, 1037, 1038, 1041, 1114, 1206),  # no disk, memory or room for locks left
            *(1040, 1203, 1226),  # no connection left, for anybody or for this user
            *(1042, 1043, 1044, 1045, 1049, 1129, 1130, 1698),  # no access, while connecting
            *(1047, 1053, 1077, 1079, 1080),  # it shuts down, or a node that is not ready
            *(1152, 1158, 1159, 1160, 1161, 1184),  # the network failed
            *(1180, 1317, 1969, 3024),  # COMMIT failed, or the statement took too long
            *(1290, 1792, 1836),  # read-only
        ),
        Trouble.AWAY,
    ),
    **dict.fromkeys((1020, 1213, 1412, 1614, 3101), Trouble.CONFLICT),
    **dict.fromkeys((1205, 3572), Trouble.LOCKED),
}
CLIENT_NUMBERS = range(2000, 3000)
#: A value is larger than the server takes, and Django raises no DataError: class 54 of PostgreSQL,
#: max_allowed_packet of MariaDB.
TOO_LARGE = frozenset({"54", 1153})

#: Primary result codes of SQLite for "away". A locked database counts: nobody else can write.
SQLITE = frozenset(
    {
        *(5, 6, 15),  # BUSY, LOCKED, PROTOCOL
        *(7, 13),  # NOMEM, FULL
        8,  # READONLY
        9,  # INTERRUPT
        *(10, 14),  # IOERR, CANTOPEN
    }
)


def is_temporary(error: BaseException) -> bool:
    """Whether the same statement may succeed later."""
    return _trouble(error) is not None


def is_away(error: BaseException) -> bool:
    """Whether the server executes no statements now, of anybody."""
    return _trouble(error) is Trouble.AWAY


def is_conflict(error: BaseException) -> bool:
    """Whether the transaction was rolled back in favor of another: it may succeed at once."""
    return _trouble(error) is Trouble.CONFLICT


def is_locked(error: BaseException) -> bool:
    """Whether another transaction holds the lock that the statement needs."""
    return _trouble(error) is Trouble.LOCKED


def is_refusal(error: BaseException) -> bool:
    """Whether the server refuses a value, and will do so each time."""
    if isinstance(error, DataError | IntegrityError):
        return True
    return isinstance(error, Error) and bool({_number(error), _state(error)[:2]} & TOO_LARGE)


def _trouble(error: BaseException) -> Trouble | None:
    """The trouble that the code of the driver's error stands for; None for a lasting error."""
    if not isinstance(error, Error):
        return None
    number = _number(error)
    if number is not None:
        return Trouble.AWAY if number in CLIENT_NUMBERS else NUMBERS.get(number)
    code = getattr(error.__cause__, "sqlite_errorcode", None)
    if code is not None:
        return Trouble.AWAY if code & 0xFF in SQLITE else None
    if state := _state(error):
        return STATES.get(state) or STATES.get(state[:2])
    return Trouble.AWAY if _is_about_connection(error) else None


def _state(error: Error) -> str:
    """The SQLSTATE from psycopg or psycopg2; '' if there is none."""
    cause = error.__cause__
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or ""


def _number(error: Error) -> int | None:
    """The number that MariaDB's drivers give first. Its SQLSTATEs are less exact."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) else None


def _is_about_connection(error: Error) -> bool:
    """Whether an error without a code comes from the driver, about its connection.

    psycopg2 raises a plain DatabaseError for a lost connection, PyMySQL an InternalError for a
    broken one. Django raises plain ones of its own, without a cause.
    """
    if isinstance(error, OperationalError | InterfaceError | InternalError):
        return True
    return type(error) is DatabaseError and error.__cause__ is not None
