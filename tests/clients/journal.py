"""A journal of requests and answers, for tests of clients that show nothing of their requests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

NAME = "journal.jsonl"


class Middleware:
    """Writes a line for each answer of the server."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        entry = {
            "method": request.method,
            "path": request.path,
            "client": request.headers.get("X-Client", ""),
            "range": request.headers.get("Range", ""),
            "status": response.status_code,
        }
        with (settings.DEMO_DIR / NAME).open("a") as file:
            file.write(json.dumps(entry) + "\n")
        return response


def read(folder: Path, client: str) -> list[dict[str, Any]]:
    """The entries of requests whose header X-Client names `client`, the oldest first."""
    path = folder / NAME
    if not path.exists():
        return []
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return [entry for entry in entries if entry["client"] == client]
