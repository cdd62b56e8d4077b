"""`Prefer: wait`: an answer that comes when there is something to say."""

from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from async_reply.estimates import forecasts
from async_reply.protocol import headers
from async_reply.waiting import answers, environs, slots, ticker, tickets


def wanted(request: Request, *, most: float) -> int | None:
    """The seconds this request is to wait; None where it did not ask, or has waited.

    `most` is what it may wait at most, 0 where waiting is off.
    """
    seconds = headers.wait(request.headers.get("Prefer", ""))
    if seconds is None or not most or request.method == "HEAD":
        return None
    place = tickets.found(request)
    return None if place.again or place.refuses else int(min(seconds, most))


def hold(request: Request, ticket: tickets.Wait, response: Response) -> HttpResponseBase:
    """`response`, or what is true after the wait that the client prefers.

    A server that parks clients gets the `ticket`; else this thread waits. Where it cannot,
    `response` is the answer at once.
    """
    is_over = ticker.is_over(ticket.operation)
    if not ticket.seconds and not is_over:
        return _applied(response, ticket)
    place = tickets.found(request)
    if place.offers:
        place.ticket = ticket
        return response
    environ = environs.of(request)
    if environ is None or slots.is_in_transaction():
        return response
    if not is_over:
        ended = _wait(environ, ticket)
        if ended is None:
            return response
        is_over = ended
    if isinstance(ticket, tickets.Submit):
        return _applied(_reply(environ, ticket, response, is_over=is_over), ticket)
    return _applied(answers.ask_in_thread(environ, ticket.url)[0], ticket)


def _wait(environ: dict[str, Any], ticket: tickets.Wait) -> bool | None:
    """Whether it ended in time; None at once where no thread is to wait.

    A stranger's submit never holds a thread: anybody may send as many as they like.
    """
    if isinstance(ticket, tickets.Submit) and not ticket.operation.owner:
        return None
    if not environs.has_threads(environ):
        return None
    return slots.wait(ticket.operation, seconds=ticket.seconds, caller=ticket.caller)


def _reply(
    environ: dict[str, Any], ticket: tickets.Submit, accepted: Response, *, is_over: bool
) -> HttpResponseBase:
    """The reply by the result's own view; the 202 where that gives none.

    The operation was accepted, whatever comes of this: credentials that were good for the submit
    alone are refused here.
    """
    if is_over:
        reply, place = answers.ask_in_thread(environ, ticket.url)
        if place.replied and reply.status_code < 500:
            reply["Content-Location"] = ticket.url
            for name in headers.KEY_ANSWERS & set(accepted.headers):
                reply[name] = accepted[name]
            return reply
    accepted["Retry-After"] = str(forecasts.retry_after_wait(ticket.operation))
    return accepted


def _applied(response: HttpResponseBase, ticket: tickets.Wait) -> HttpResponseBase:
    """`response`, saying that the client's wish to wait was followed."""
    field = response.get("Preference-Applied", "")
    response["Preference-Applied"] = headers.applied(field, int(ticket.seconds))
    return response
