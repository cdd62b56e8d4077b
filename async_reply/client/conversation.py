"""The client's side of the pattern, without input and output.

Each method yields requests to send and seconds to pause, gets the answers, and returns the answer
that has the result. `async_reply.client` and `async_reply.client.aio` send and pause.
"""

import random
import time
from collections.abc import Generator
from typing import Any
from urllib.parse import urljoin

import httpx

from async_reply.client import answers
from async_reply.client.errors import OperationFailed, OperationTimeout
from async_reply.client.steps import Answer, Consultation, OnChange, OnQuestion, Step, Steps
from async_reply.protocol import headers

#: Answers of servers and proxies that are too busy, or that are restarted.
BUSY = frozenset({429, 502, 503, 504})
#: Answers of proxies. The server behind may have stored the request all the same.
UNSURE = frozenset({502, 504})
#: Answers to an answer that comes too late: somebody else answered, or its time is over.
NOT_ASKED = frozenset({404, 409, 410})
#: Errors of the request itself: another try would fail as well.
MISTAKES = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
#: Seconds for which a server may be away before its error is raised.
OUTAGE_SECONDS = 120.0
#: Seconds between two polls where the server names none: the first, and the longest.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
#: The share of a pause that is added at random, so that clients do not poll at the same instant.
JITTER = 0.2
MAX_REDIRECTS = 10
ENDLESS_REDIRECTS = "The server redirects again and again."
NO_STATUS = "The monitor shows no status. Perhaps the server wraps its answers."


class Conversation:
    """One operation, from its submit to its result."""

    def __init__(
        self,
        http: httpx.Client | httpx.AsyncClient,
        *,
        timeout: float | None,
        on_change: OnChange | None,
        on_question: OnQuestion | None = None,
    ) -> None:
        self._http = http
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._on_change, self._on_question = on_change, on_question
        #: The names of the questions that `on_question` has had.
        self._asked: set[str] = set()
        self._progress: answers.Progress | None = None
        #: The URL that is polled: with it, somebody can wait on.
        self._location = ""
        #: The server that may have the credentials.
        self._origin = _origin(http.base_url)
        self._outage_began: float | None = None
        self._pauses = 0

    def submit(self, request: httpx.Request, *, is_repeatable: bool) -> Steps:
        """Send `request` until it is accepted or refused, then wait for its result.

        A busy server has stored nothing. After a connection error nobody knows, so only a
        repeatable request is sent again.
        """
        self._origin = _origin(request.url)
        response = yield from self._send(Step(request), is_repeatable=is_repeatable)
        return (yield from self.wait_for(response))

    def wait_for(self, response: httpx.Response) -> Steps:
        """Wait for the result of a request that was accepted."""
        request = response.request
        self._origin = _origin(request.url)
        _raise_for_status(response)
        monitor = next(
            (
                _absolute(response, response.headers[name])
                for name in (headers.OPERATION_LOCATION, headers.AZURE_ASYNC_OPERATION)
                if name in response.headers
            ),
            "",
        )
        # Without a monitor, each of these says that the result is elsewhere, or comes later.
        if response.status_code not in ((201, 202) if monitor else (202, 302, 303)):
            return _result(response)
        location = _absolute(response, response.headers.get(headers.LOCATION))
        if not monitor and not location:
            raise OperationFailed({"detail": "The answer names no URL to wait at."}, response)
        self._location = monitor or location
        yield from self.pause(answers.retry_after(response))
        if not monitor:
            return (yield from self._poll(location))
        # Azure's rule: a PUT or PATCH changes the resource at its own URL.
        result = str(request.url) if request.method in ("PUT", "PATCH") else location
        return (yield from self._poll(monitor, result=result))

    def follow(self, location: str) -> Steps:
        """Wait for the result at a URL of an earlier 202."""
        url = self._http.base_url.join(location)
        if not self._origin[1]:
            self._origin = _origin(url)
        return (yield from self._poll(str(url)))

    def get(self, location: str, fields: dict[str, str], *, held_seconds: float) -> Steps:
        """Get a URL of an operation, with these fields; raises OperationFailed if it is refused.

        The server may hold the request for so many seconds. They lengthen the timeout.
        """
        url = httpx.URL(location)
        if not self._origin[1]:
            self._origin = _origin(url)
        step = self._request("GET", str(url), headers=fields)
        timeout = dict(step.request.extensions["timeout"])
        if timeout.get("read") is not None:
            timeout["read"] += held_seconds
        step.request.extensions["timeout"] = timeout
        response = yield from self._send(step, is_repeatable=True)
        _raise_for_status(response)
        return response

    def _poll(self, url: str, *, result: str = "") -> Steps:
        """Ask at `url` until the operation has finished; `result` is the URL of its result."""
        was_202, redirects = False, 0
        while True:
            self._location = url
            response = yield from self._get(url)
            if response.has_redirect_location:
                target = _absolute(response, response.headers[headers.LOCATION])
                if response.status_code in (302, 303):
                    return (yield from self._read(target))
                url, redirects = target, redirects + 1
                if redirects > MAX_REDIRECTS:
                    raise OperationFailed({"detail": ENDLESS_REDIRECTS}, response)
                continue
            redirects = 0
            _raise_for_status(response)
            body = answers.document(response)
            if response.status_code == 202:
                was_202 = True
                url = _absolute(response, response.headers.get(headers.LOCATION)) or url
            elif was_202 or not _is_status(response, body, is_monitor=bool(result)):
                return _result(response)
            elif answers.word(body) in answers.FAILED:
                self._show(body)
                raise OperationFailed(answers.problem(body), response)
            elif answers.word(body) in answers.SUCCEEDED:
                self._show(body)
                return (yield from self._finish(response, body, result))
            self._show(body)
            if not (yield from self._reply(response, answers.question(body))):
                yield from self.pause(answers.retry_after(response))

    def _reply(
        self, response: httpx.Response, question: answers.Question | None
    ) -> Generator[Step | Consultation | float, Answer, bool]:
        """Send the user's answer to a question; whether it was sent. Each is asked once."""
        if self._on_question is None or question is None or question.name in self._asked:
            return False
        self._asked.add(question.name)
        value = yield Consultation(self._on_question, question)
        if value is None:
            return False
        step = self._request("POST", _absolute(response, question.link), json=value)
        # The same answer again changes nothing.
        answered = yield from self._send(step, is_repeatable=True)
        if answered.status_code not in NOT_ASKED:
            _raise_for_status(answered)
        return True

    def _finish(self, response: httpx.Response, body: dict[str, Any], result: str) -> Steps:
        links = body.get("links")
        named = body.get("resourceLocation")
        if not named and isinstance(links, dict):
            named = links.get("result")
        target = _absolute(response, named if isinstance(named, str) else None) or result
        if not target or target == str(response.url):
            return response
        return (yield from self._read(target))

    def _read(self, url: str) -> Steps:
        """The result at `url`. It may redirect to a storage or to a resource."""
        for _ in range(MAX_REDIRECTS):
            response = yield from self._get(url)
            if response.status_code == 202:
                return (yield from self._poll(url))
            if not response.has_redirect_location:
                return _result(response)
            url = _absolute(response, response.headers[headers.LOCATION])
        raise OperationFailed({"detail": ENDLESS_REDIRECTS}, response)

    def _get(self, url: str) -> Steps:
        return (yield from self._send(self._request("GET", url), is_repeatable=True))

    def _request(self, method: str, url: str, **options: Any) -> Step:
        """A request. Another server gets neither credentials nor the client's own headers."""
        if _origin(httpx.URL(url)) == self._origin:
            return Step(self._http.build_request(method, url, **options))
        fields = {headers.ACCEPT: "*/*", **options.pop("headers", {})}
        request = httpx.Request(method, url, headers=fields, **options)
        request.extensions["timeout"] = self._http.timeout.as_dict()
        return Step(request, {"auth": None})

    def _send(self, step: Step, *, is_repeatable: bool) -> Steps:
        while True:
            answer = yield step
            if isinstance(answer, httpx.Response) and answer.status_code not in BUSY:
                self._outage_began = None
                return answer
            if isinstance(answer, httpx.Response):
                is_unsure = answer.status_code in UNSURE and not is_repeatable
                delay = None if is_unsure else answers.retry_after(answer)
            elif isinstance(answer, MISTAKES):
                raise answer
            else:
                delay = None
            if delay is None and not is_repeatable:
                _raise(answer)
            self._bear(answer)
            yield from self.pause(delay)

    def _bear(self, answer: Answer) -> None:
        """Raise the error of a server that has been away for too long. A busy one is not away."""
        now = time.monotonic()
        if self._outage_began is None:
            self._outage_began = now
        if now - self._outage_began < OUTAGE_SECONDS:
            return
        if not (isinstance(answer, httpx.Response) and answer.status_code == 429):
            _raise(answer)

    def pause(self, seconds: float | None) -> Generator[float, Answer, None]:
        """Pause as long as the server asks, or longer each time; raises OperationTimeout."""
        if seconds is None:
            seconds = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 1.5 ** min(self._pauses, 20))
            self._pauses += 1
        seconds += random.uniform(0, JITTER * seconds)  # noqa: S311
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise OperationTimeout(self._location)
            seconds = min(seconds, left)
        yield seconds

    def _show(self, body: dict[str, Any]) -> None:
        progress = answers.progress(body)
        if self._on_change is not None and body and progress != self._progress:
            self._on_change(progress)
        self._progress = progress


def _is_status(response: httpx.Response, body: dict[str, Any], *, is_monitor: bool) -> bool:
    """Whether a 200 shows the operation, and not its result. A monitor has to."""
    if is_monitor and not answers.word(body):
        raise OperationFailed({"detail": NO_STATUS}, response)
    if headers.RETRY_AFTER in response.headers or is_monitor:
        return bool(answers.word(body))
    return answers.word(body) in answers.UNFINISHED | answers.SUCCEEDED | answers.FAILED


def _raise(answer: Answer) -> None:
    if isinstance(answer, httpx.TransportError):
        raise answer
    if answer is not None:
        _raise_for_status(answer)


def _raise_for_status(response: httpx.Response) -> None:
    if response.is_error:
        raise OperationFailed(answers.problem(answers.document(response)), response)


def _result(response: httpx.Response) -> httpx.Response:
    """The answer with the result; raises OperationFailed for an error, and for a redirect."""
    _raise_for_status(response)
    if response.is_redirect:
        target = response.headers.get(headers.LOCATION, "no other URL")
        detail = f"The server answered {response.status_code}, and names {target}."
        raise OperationFailed({"detail": detail}, response)
    return response


def _absolute(response: httpx.Response, location: str | None) -> str:
    """The URL that an answer names; '' without one. Raises OperationFailed if it is not valid."""
    if not location:
        return ""
    try:
        url = urljoin(str(response.url), location)
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        detail = "The answer names a URL that is not valid."
        raise OperationFailed({"detail": detail}, response) from None
    return url


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    return url.scheme, url.host, port
