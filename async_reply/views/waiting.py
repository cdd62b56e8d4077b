"""Lets a request wait for its operation, as its client prefers by `Prefer: wait`.

A question of the job ends the wait as well, unless the client knows it by its If-None-Match.
"""

from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from async_reply.estimates import forecasts
from async_reply.protocol import headers
from async_reply.waiting import answers, environs, slots, ticker, tickets


def wanted(request: Request, *, most: float, default: int | None = None) -> int | None:
    """The seconds this request may wait; None if it did not ask to wait, or has waited already.

    `most` is the maximum, 0 if waiting is turned off. `default` is for a request that did not ask.
    """
    seconds = headers.wait(request.headers.get(headers.PREFER, ""))
    seconds = default if seconds is None else seconds
    if seconds is None or not most or request.method == "HEAD":
        return None
    handover = tickets.of(request)
    if handover.is_follow_up or handover.is_stopping:
        return None
    return int(min(seconds, most))


def hold(request: Request, ticket: tickets.Wait, response: Response) -> HttpResponseBase:
    """The answer after the wait, or `response` at once if the request cannot wait.

    Under ASGI the waiting application takes the ticket, and holds the client. Under WSGI this
    thread waits.
    """
    has_ended = ticker.has_ended(ticket.operation)
    if not has_ended and (ticket.has_news(ticket.operation) or not ticket.seconds):
        return _applied(response, ticket)
    handover = tickets.of(request)
    if handover.can_hold:
        handover.ticket = ticket
        return response
    environ = environs.of(request)
    if environ is None or slots.is_in_transaction():
        return response
    if not has_ended:
        outcome = _wait(environ, ticket)
        if outcome is None:
            return response
        has_ended = outcome
    if isinstance(ticket, tickets.Submit):
        return _applied(_result(environ, ticket, response, has_ended=has_ended), ticket)
    return _applied(answers.ask_in_thread(environ, ticket.url)[0], ticket)


def _wait(environ: dict[str, Any], ticket: tickets.Wait) -> bool | None:
    """Whether the operation ended or asked in time; None at once if this thread must not wait.

    A submit without an owner never holds a thread: anybody may send any number of them.
    """
    if isinstance(ticket, tickets.Submit) and not ticket.operation.owner:
        return None
    if not environs.has_threads(environ):
        return None
    return slots.wait(ticket)


def _result(
    environ: dict[str, Any], ticket: tickets.Submit, accepted: Response, *, has_ended: bool
) -> HttpResponseBase:
    """The answer of the result's view, or the 202 if that view does not answer.

    The operation is accepted even if the client's credentials are good for the submit alone.
    """
    if has_ended:
        result, handover = answers.ask_in_thread(environ, ticket.url)
        if handover.is_result and result.status_code < 500:
            result[headers.CONTENT_LOCATION] = ticket.url
            for name in headers.KEY_ANSWERS & set(accepted.headers):
                result[name] = accepted[name]
            return result
    accepted[headers.RETRY_AFTER] = str(forecasts.retry_after_wait(ticket.operation))
    return accepted


def _applied(response: HttpResponseBase, ticket: tickets.Wait) -> HttpResponseBase:
    """`response` with a Preference-Applied field about the wait, if the client preferred it."""
    if not ticket.is_preferred:
        return response
    field = response.get(headers.PREFERENCE_APPLIED, "")
    response[headers.PREFERENCE_APPLIED] = headers.applied(field, int(ticket.seconds))
    return response
