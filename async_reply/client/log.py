"""Reads the log of an operation page by page, without input and output."""

import time
from typing import Any

import httpx

from async_reply.client import answers
from async_reply.client.conversation import Conversation
from async_reply.client.errors import OperationFailed
from async_reply.client.steps import Steps
from async_reply.protocol import headers

#: Seconds for which the server may hold a request until the next event.
WAIT_SECONDS = 20
#: An empty page that came sooner was not held: the client pauses before it asks again.
HELD_SECONDS = 1.0


class LogReader:
    """The pages of one log. `events` are those of the last page."""

    def __init__(
        self, http: httpx.Client | httpx.AsyncClient, location: str, *, after: int
    ) -> None:
        self._conversation = Conversation(http, timeout=None, on_change=None)
        self._url = http.base_url.join(location)
        self._last = after
        self.events: list[dict[str, Any]] = []
        self.is_complete = False

    def page(self) -> Steps:
        """Ask for the next page; pause if it is empty and the server has not held the request."""
        started = time.monotonic()
        url = self._url.copy_merge_params({"after": self._last})
        fields = {headers.PREFER: f"wait={WAIT_SECONDS}"}
        response = yield from self._conversation.get(str(url), fields, held_seconds=WAIT_SECONDS)
        page = answers.document(response)
        try:
            self.events, self.is_complete, last = page["events"], page["complete"], page["last"]
        except KeyError:
            raise OperationFailed({"detail": "This URL has no log."}, response) from None
        is_news, self._last = last > self._last, last
        was_held = time.monotonic() - started >= HELD_SECONDS
        if not (is_news or was_held or self.is_complete):
            yield from self._conversation.pause(answers.retry_after(response))
        return response
