"""What both ways of notifying share: the channel, and the form of a message."""

from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

CHANNEL = "async_reply"


#: Seconds after which a listener looks whether it is still wanted.
TURN = 0.5


Hint = Callable[[UUID | None], None]


def pass_on(text: str, hint: Hint) -> None:
    with suppress(ValueError):
        hint(UUID(text))
