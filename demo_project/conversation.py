"""A client of the pattern: submits, waits as it is told, reads the result."""

import csv
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import httpx

from demo_project.processes import DemoError

SHOWN = ("Location", "Operation-Location", "Retry-After")
COLUMNS = ("name", "type", "count", "empty", "distinct", "min", "max", "mean")

Write = Callable[[str], object]


class Conversation:
    """What is said between client and server, written as a person reads it.

    `patience`: seconds without any news from the operation after which it gives up.
    """

    def __init__(self, base_url: str, *, token: str, write: Write, patience: float = 60) -> None:
        headers = {"Authorization": f"Token {token}"}
        self.client = httpx.Client(base_url=base_url, headers=headers, timeout=600)
        self.write = write
        self.patience = patience

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.client.close()

    def profile(self, path: Path) -> dict[str, Any]:
        """202, then 200 until 302, then the profile; DemoError when it does not come to that."""
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
        """Another kind, which takes longer: the server tells its clients to come back later."""
        title = f"POST /api/sleeps/   {seconds:g} seconds"
        accepted = self.ask(title, "POST", "/api/sleeps/", expect=202, json={"seconds": seconds})
        self.ask("", "GET", self.wait(accepted.headers["Location"]), expect=200)

    def wait(self, status_url: str) -> str:
        """Poll as often as Retry-After says; the URL of the result."""
        news_at, version = time.monotonic(), ""
        while True:
            response = self.ask("", "GET", status_url)
            if response.status_code == HTTPStatus.FOUND:
                return str(response.headers["Location"])
            _expect(response, 200)
            if response.headers["ETag"] != version:
                news_at, version = time.monotonic(), response.headers["ETag"]
            elif time.monotonic() - news_at > self.patience:
                raise DemoError(
                    f"The operation showed no progress for {self.patience:.0f} s: "
                    "does the worker run?"
                )
            time.sleep(int(response.headers["Retry-After"]))

    def ask(
        self, title: str, method: str, url: str, *, expect: int | None = None, **options: Any
    ) -> httpx.Response:
        self.write(title or f"{method} {httpx.URL(url).path}")
        response = self.client.request(method, url, **options)
        self.write(f"{response.status_code} {response.reason_phrase}{_said(response)}")
        for name in SHOWN:
            if name in response.headers:
                self.write(f"  {name}: {response.headers[name]}")
        self.write("")
        if expect is not None:
            _expect(response, expect)
        return response


def table(profile: dict[str, Any]) -> list[str]:
    """The profile as aligned lines."""
    rows = [[_cell(column, name) for name in COLUMNS] for column in profile["columns"]]
    lines = [list(COLUMNS), *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS))]
    aligned = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return [f"{profile['rows']:,} rows", *aligned]


def check(profile: dict[str, Any], path: Path) -> str:
    """Count rows and empty cells once more, without the profiler; DemoError on a difference."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = next(reader)
        rows, empty = 0, [0] * len(header)
        for row in reader:
            rows += bool(row)
            for place, cell in enumerate(row):
                empty[place] += not cell
    told = [column["empty"] for column in profile["columns"]]
    if (rows, empty) != (profile["rows"], told):
        raise DemoError(
            f"The profile says {profile['rows']} rows and {told} empty cells, "
            f"the file has {rows} and {empty}: please report this."
        )
    return f"Checked against the file: {rows:,} rows, {sum(empty):,} empty cells."


def _expect(response: httpx.Response, status: int) -> None:
    if response.status_code != status:
        body = response.json() if "json" in response.headers.get("Content-Type", "") else {}
        detail = body.get("detail") or response.text[:500]
        errors = f" {body['errors']}" if "errors" in body else ""
        raise DemoError(f"{response.status_code} where {status} was expected: {detail}{errors}")


def _said(response: httpx.Response) -> str:
    """Status, progress and message of an operation's document."""
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
