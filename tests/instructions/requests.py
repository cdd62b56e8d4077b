"""Answers requests in child processes: `python -m tests.instructions.requests COUNT`.

Setting up takes most of the time, so each kind of request is answered by a fork of one process. A
child without requests does all the rest: the difference of two counts is that of the requests.
Prints the name and the process id of each child.
"""

import gc
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from benchmarks.rivals.app import app

BODY = json.dumps({"number": 7, "text": "seven"})
PUBLIC_BODY = json.dumps({"seconds": 1})
WARM_UP = 3


NAMES = ("poll", "poll by key", "naive poll", "limit", "submit", "naive submit")


def main(count: int) -> None:
    app.set_default()
    import django

    django.setup()
    import benchmarks.rivals.wsgi  # noqa: F401  each child uses it

    for name in ("nothing", *NAMES):
        pid = os.fork()
        if not pid:
            answer(name, count)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0, name
        sys.stdout.write(f"{name}: {pid}\n")


def answer(name: str, count: int) -> None:
    """Answer requests of each name for a start, then `count` of this one."""
    from django.contrib.auth.models import User
    from rest_framework.authtoken.models import Token

    from async_reply.estimates import backlogs, histories

    user, _ = User.objects.get_or_create(username="ada")
    token, _ = Token.objects.get_or_create(user=user)
    ask = partial(request, token=token.key)
    # Under valgrind a request takes fifty times as long, and caches would expire so much earlier.
    backlogs.REFRESH_SECONDS = histories.REFRESH_SECONDS = 3600.0
    accepted = ask("POST", "/ours/", BODY)
    signed = request("POST", "/public-sleeps/", PUBLIC_BODY)["Location"]
    naive = ask("POST", "/naive/", BODY)["Location"]
    requests: dict[str, Callable[[], object]] = {
        "poll": lambda: ask("GET", accepted["Location"]),
        "poll by key": lambda: request("GET", signed),
        "naive poll": lambda: ask("GET", naive),
        "limit": lambda: request("GET", f"/limit/{accepted['Operation-Id']}/"),
        "submit": lambda: ask("POST", "/ours/", BODY),
        "naive submit": lambda: ask("POST", "/naive/", BODY),
    }
    for each in NAMES:
        for _ in range(WARM_UP):
            requests[each]()
    # A collection of all that the imports made takes as much as twenty requests to the limit, and
    # came in one count or in another.
    gc.collect()
    gc.freeze()
    for _ in range(count if name in requests else 0):
        requests[name]()


def request(method: str, url: str, body: str = "", *, token: str = "") -> dict[str, str]:
    """Answer a request in this process; return the header fields of the answer."""
    from benchmarks.rivals.wsgi import application

    parts = urlsplit(url)
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": parts.path,
        "QUERY_STRING": parts.query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body.encode()),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
    }
    if token:
        environ["HTTP_AUTHORIZATION"] = f"Token {token}"
    fields: dict[str, str] = {}

    def start(status: str, headers: list[tuple[str, str]]) -> Any:
        assert status[0] == "2", status
        fields.update(headers)

    answered = application(environ, start)  # type: ignore[arg-type]  # it takes no error
    b"".join(answered)
    answered.close()
    return fields


if __name__ == "__main__":
    main(int(sys.argv[1]))
