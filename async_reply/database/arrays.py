"""Passes ids and numbers to PostgreSQL as arrays, in its binary format.

The drivers convert a list of Python objects slowly, and the server reads the text of an array
slowly: 4,000 ids take the client 0.8 ms by text and 0.35 by bytes. psycopg2 has no binary format,
so it gets the text.
"""

from collections.abc import Sequence
from functools import lru_cache
from struct import pack
from typing import Any
from uuid import UUID

#: The server's numbers for its types (pg_type.dat).
UUID_OID, UUIDS_OID, INTEGER_OID, INTEGERS_OID = 2950, 2951, 23, 1007


class Uuids(bytes):
    """An array of uuids."""


class Integers(bytes):
    """An array of integers of four bytes."""


def binary(ids: Sequence[UUID], *columns: Sequence[int]) -> list[Any]:
    """The parameters for psycopg 3: the ids, and each column of numbers."""
    return [
        Uuids(_array(UUID_OID, [pk.bytes for pk in ids])),
        *(
            Integers(_array(INTEGER_OID, [pack("!i", number) for number in numbers]))
            for numbers in columns
        ),
    ]


def _array(oid: int, elements: Sequence[bytes]) -> bytes:
    """One dimension, no NULL, the elements' type, their number, and the first index."""
    head = pack("!iiIii", 1, 0, oid, len(elements), 1)
    return head + b"".join([pack("!i", len(element)) + element for element in elements])


def text(ids: Sequence[UUID], *columns: Sequence[int]) -> list[Any]:
    """The parameters for other drivers."""
    texts = [pk.hex for pk in ids], *([str(number) for number in column] for column in columns)
    return ["{" + ",".join(column) + "}" for column in texts]


def cursor(connection: Any) -> Any:
    """A cursor of Django that passes the parameters of `binary` to the server as they are."""
    from psycopg import Cursor

    connection.ensure_connection()
    raw: Any = Cursor(connection.connection)
    for array, dumper in _dumpers():
        raw.adapters.register_dumper(array, dumper)
    return connection._prepare_cursor(raw)  # noqa: SLF001 the project sees the statement


@lru_cache(maxsize=1)
def _dumpers() -> list[tuple[type[bytes], Any]]:
    from psycopg.types.string import BytesBinaryDumper

    class UuidsDumper(BytesBinaryDumper):
        oid = UUIDS_OID

    class IntegersDumper(BytesBinaryDumper):
        oid = INTEGERS_OID

    return [(Uuids, UuidsDumper), (Integers, IntegersDumper)]
