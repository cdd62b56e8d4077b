"""The parts that both ways of notifying share: the channel, and the format of a message."""

from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

CHANNEL = "async_reply"
#: Seconds a listener waits for a message before it looks whether it has to stop.
POLL_SECONDS = 0.5

#: Called with the id of an operation that changed; None: any operation may have changed.
OnChange = Callable[[UUID | None], None]


def pass_on(text: str, on_change: OnChange) -> None:
    """Call `on_change` with the id in a message; messages of other senders are ignored."""
    with suppress(ValueError):
        on_change(UUID(text))
