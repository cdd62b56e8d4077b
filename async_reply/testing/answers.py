"""Follows a 202 to its result or its problem, in the tests of a project's views."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from django.conf import settings
from django.test import AsyncClient

from async_reply.models import Operation
from async_reply.protocol import headers
from async_reply.status import UNFINISHED
from async_reply.testing.running import run_operations

#: A result may redirect to a resource of the project, whose view may redirect as well.
MAX_REDIRECTS = 10
#: Packages whose clients take other arguments than those of Django.
FOREIGN_CLIENTS = frozenset({"aiohttp", "httpx", "requests"})


def accepted(response: Any) -> Operation:
    """The operation of a 202; raises AssertionError for another answer, and shows its body.

    Takes the answers of Django's test clients, and of REST framework's RequestsClient, requests and
    httpx.
    """
    if response.status_code != 202:
        is_stream = getattr(response, "streaming", False)
        body = "…" if is_stream else response.content.decode(errors="replace")
        raise AssertionError(f"Expected a 202, and the answer is {response.status_code}: {body}")
    for name in (headers.OPERATION_ID, headers.LOCATION, headers.RETRY_AFTER):
        if name not in response.headers:
            raise AssertionError(f"The 202 has no {name}: does the view return self.submit()?")
    operation: Operation = Operation.objects.get(pk=UUID(response.headers[headers.OPERATION_ID]))
    return operation


def result_of(response: Any, client: Any) -> Any:
    """Follow a 202 as `client`, and return the answer that has the result or the problem.

    `client` is a test client of Django or like one. It sends its own credentials: those that only
    its request for `response` had are not known here.

    Due operations run first, where this one is unfinished. Redirects within the server are
    followed; one to another host is returned. Raises AssertionError while the operation waits.
    """
    operation = accepted(response)
    families = {cls.__module__.partition(".")[0] for cls in type(client).__mro__}
    if isinstance(client, AsyncClient) or families & FOREIGN_CLIENTS:
        raise TypeError(
            f"result_of takes no {type(client).__qualname__}, but Client of django.test or a class "
            "like it. With this client, call run_operations() and get the Location yourself."
        )
    if operation.status in UNFINISHED:
        run_operations()
        operation.refresh_from_db(fields=["status"])
    if operation.status in UNFINISHED:
        raise AssertionError(
            f"The operation is {operation.status} still: run_operations(advance=True) takes its "
            "delay, or the lease of its lost worker, as over."
        )
    url = response[headers.LOCATION]
    host = urlsplit(url).netloc
    for _ in range(MAX_REDIRECTS):
        parts = urlsplit(url)
        if parts.netloc not in ("", host):
            break
        # A test client sends the path behind the prefix, as a server does.
        prefix = (settings.FORCE_SCRIPT_NAME or "").rstrip("/")
        url = urlunsplit(parts._replace(path=parts.path.removeprefix(prefix)))
        response = client.get(url, secure=parts.scheme == "https", headers={"Host": host})
        if not 300 <= response.status_code <= 399:
            break
        url = response[headers.LOCATION]
    return response
