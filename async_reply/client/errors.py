"""The exceptions of the client. Each docstring says what to do about it."""

from typing import Any

import httpx


class OperationFailed(Exception):
    """The operation failed or was canceled, or the server refused a request: see `problem`.

    `problem` is the problem document (RFC 9457), or the `error` of a status document; {} where the
    server sent neither. `status`, `code` and `detail` are its members, or what the answer says
    instead. `response` is the answer.
    """

    def __init__(self, problem: dict[str, Any], response: httpx.Response) -> None:
        self.problem = problem
        self.response = response
        status = problem.get("status")
        self.status: int = status if isinstance(status, int) else response.status_code
        self.code = str(problem.get("code") or "")
        self.detail = str(
            problem.get("detail")
            or problem.get("message")
            or problem.get("title")
            or f"The server answered {response.status_code} {response.reason_phrase}."
        )
        super().__init__(self.detail)


class OperationTimeout(Exception):
    """The time is over, and the operation is not: call `follow` with `location` to wait on.

    `location` is '' where the server has not accepted the request yet.
    """

    def __init__(self, location: str) -> None:
        super().__init__(f"The operation did not finish in time: {location or 'not accepted'}")
        self.location = location
