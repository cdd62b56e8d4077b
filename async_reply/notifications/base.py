"""The parts that both ways of notifying share: the channel, and the format of a message."""

from contextlib import suppress
from typing import Protocol
from uuid import UUID

CHANNEL = "async_reply"
#: Seconds a listener waits for a message before it looks whether it has to stop.
POLL_SECONDS = 0.5

#: The end of a message about an operation whose events changed, and nothing else. Processes of
#: earlier versions take no such message for an id, and ignore it.
ONLY_EVENTS = " events"


class OnChange(Protocol):
    """Called with the id of an operation that changed; None: any operation may have changed.

    `only_events` is True, and there, if only its events changed.
    """

    def __call__(self, pk: UUID | None, /, *, only_events: bool = ...) -> None: ...


def pass_on(text: str, on_change: OnChange) -> None:
    """Call `on_change` with the id in a message; messages of other senders are ignored."""
    with suppress(ValueError):
        if text.endswith(ONLY_EVENTS):
            on_change(UUID(text.removesuffix(ONLY_EVENTS)), only_events=True)
        else:
            on_change(UUID(text))
