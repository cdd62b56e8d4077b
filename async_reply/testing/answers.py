"""Follows a 202 to its result or its problem, in the tests of a project's views."""

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from async_reply.models import Operation
from async_reply.protocol import headers
from async_reply.status import UNFINISHED
from async_reply.testing.running import run_operations

#: A result may redirect to a resource of the project, whose view may redirect as well.
MAX_REDIRECTS = 10


def accepted(response: Any) -> Operation:
    """The operation of a 202; raises AssertionError for another answer, and shows its body."""
    if response.status_code != 202:
        body = "…" if response.streaming else response.content.decode(errors="replace")
        raise AssertionError(f"Expected a 202, and the answer is {response.status_code}: {body}")
    for name in (headers.OPERATION_ID, headers.LOCATION, headers.RETRY_AFTER):
        if name not in response.headers:
            raise AssertionError(f"The 202 has no {name}: does the view return self.submit()?")
    operation: Operation = Operation.objects.get(pk=UUID(response[headers.OPERATION_ID]))
    return operation


def result_of(response: Any, client: Any) -> Any:
    """Follow a 202 as `client`, and return the answer that has the result or the problem.

    Due operations run first, where this one is unfinished. Redirects within the server are
    followed; one to another host is returned. Raises AssertionError while the operation waits.
    """
    operation = accepted(response)
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
        response = client.get(url, secure=parts.scheme == "https", headers={"Host": host})
        if not 300 <= response.status_code <= 399:
            break
        url = response[headers.LOCATION]
    return response
