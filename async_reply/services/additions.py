"""Lets other apps store rows of their own with each new operation, whoever submits it.

The list is empty unless such an app is installed, and then a submit pays nothing for it.
"""

from collections.abc import Callable

from async_reply.models import Operation

#: Called with each operation that is about to be inserted, inside the transaction that inserts it.
#: When the transaction conflicts with another one and is repeated, the functions are called again.
#: A replay of an earlier request inserts nothing and calls nothing.
functions: list[Callable[[Operation], object]] = []
#: Called with an owner whose operations are removed, inside the transaction that removes them.
of_removed_owners: list[Callable[[str], object]] = []


def add(operation: Operation) -> None:
    """Call all functions. They may also write into `operation.reply`."""
    for function in functions:
        function(operation)
