"""A client for the demo's command: it submits, obeys Retry-After, and reads the result."""

import csv
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import httpx

from demo_project.processes import DemoError

SHOWN_HEADERS = ("Location", "Operation-Location", "Retry-After")
COLUMNS = ("name", "type", "count", "empty", "distinct", "min", "max", "mean")

Write = Callable[[str], object]


class Conversation:
    """Requests to the demo, and a readable line for each request and each answer.

    `write` is called with each line. The client gives up after `patience_seconds` in which the
    operation shows no progress.
    """

    def __init__(
        self, base_url: str, *, token: str, write: Write, patience_seconds: float = 60
    ) -> None:
        headers = {"Authorization": f"Token {token}"}
        self.client = httpx.Client(base_url=base_url, headers=headers, timeout=600)
        self.write = write
        self.patience_seconds = patience_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.client.close()

    def profile(self, path: Path) -> dict[str, Any]:
        """Submit the file, poll until the 302, and return the profile; DemoError if that fails."""
        with path.open("rb") as file:
            title = f"POST /api/csv-profiles/   {path.name}, {path.stat().st_size:,} bytes"
            files = {"file": (path.name, file, "text/csv")}
            accepted = self.ask(title, "POST", "/api/csv-profiles/", expect=202, files=files)
            result_url = self.wait(accepted.headers["Location"])
            result = self.ask("", "GET", result_url, expect=200)
        profile: dict[str, Any] = result.json()
        for line in table(profile):
            self.write(f"  {line}")
        return profile

    def sleep(self, seconds: float) -> None:
        """Submit a sleep and wait for its end. For a longer job, Retry-After is longer."""
        title = f"POST /api/sleeps/   {seconds:g} seconds"
        accepted = self.ask(title, "POST", "/api/sleeps/", expect=202, json={"seconds": seconds})
        self.ask("", "GET", self.wait(accepted.headers["Location"]), expect=200)

    def wait(self, status_url: str) -> str:
        """Poll as often as Retry-After says; return the URL of the result."""
        changed_at, version = time.monotonic(), ""
        while True:
            response = self.ask("", "GET", status_url)
            if response.status_code == HTTPStatus.FOUND:
                return str(response.headers["Location"])
            _expect(response, 200)
            if response.headers["ETag"] != version:
                changed_at, version = time.monotonic(), response.headers["ETag"]
            elif time.monotonic() - changed_at > self.patience_seconds:
                raise DemoError(
                    f"The operation showed no progress for {self.patience_seconds:.0f} s: "
                    "check that the worker runs."
                )
            time.sleep(int(response.headers["Retry-After"]))

    def ask(
        self, title: str, method: str, url: str, *, expect: int | None = None, **options: Any
    ) -> httpx.Response:
        """Send a request, write it and its answer, and check the status if one is expected."""
        self.write(title or f"{method} {httpx.URL(url).path}")
        response = self.client.request(method, url, **options)
        self.write(f"{response.status_code} {response.reason_phrase}{_summary(response)}")
        for name in SHOWN_HEADERS:
            if name in response.headers:
                self.write(f"  {name}: {response.headers[name]}")
        self.write("")
        if expect is not None:
            _expect(response, expect)
        return response


def table(profile: dict[str, Any]) -> list[str]:
    """The profile as a table of aligned lines."""
    rows = [[_cell(column, name) for name in COLUMNS] for column in profile["columns"]]
    lines = [list(COLUMNS), *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(COLUMNS))]
    aligned = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return [f"{profile['rows']:,} rows", *aligned]


def check(profile: dict[str, Any], path: Path) -> str:
    """Count rows and empty cells without the profiler; DemoError if the profile differs."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = next(reader)
        rows, empty = 0, [0] * len(header)
        for row in reader:
            rows += bool(row)
            for index, cell in enumerate(row):
                empty[index] += not cell
    empty_in_profile = [column["empty"] for column in profile["columns"]]
    if (rows, empty) != (profile["rows"], empty_in_profile):
        raise DemoError(
            f"The profile says {profile['rows']} rows and {empty_in_profile} empty cells, "
            f"the file has {rows} and {empty}: please report this."
        )
    return f"Checked against the file: {rows:,} rows, {sum(empty):,} empty cells."


def _expect(response: httpx.Response, status: int) -> None:
    if response.status_code != status:
        body = response.json() if "json" in response.headers.get("Content-Type", "") else {}
        detail = body.get("detail") or response.text[:500]
        errors = f" {body['errors']}" if "errors" in body else ""
        raise DemoError(
            f"The server answered {response.status_code}, not {status}: {detail}{errors}"
        )


def _summary(response: httpx.Response) -> str:
    """Status, progress and message of an operation's document; "" for another answer."""
    if not response.headers.get("Content-Type", "").startswith("application/json"):
        return ""
    body = response.json()
    if not isinstance(body, dict) or "status" not in body or "links" not in body:
        return ""
    progress = "" if body.get("progress") is None else f", {body['progress']} %"
    message = f", {body['message']}" if body.get("message") else ""
    return f"   ({body['status']}{progress}{message})"


def _cell(column: dict[str, Any], name: str) -> str:
    value = column[name]
    if value is None:
        return "-"
    if name == "mean":
        return f"{value:.6g}"
    if name == "distinct" and column["distinct_more_than"]:
        return f"more than {value:,}"
    return str(value)[:30]
