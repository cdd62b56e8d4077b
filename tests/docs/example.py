"""Runs the example of a how-to page, for tests: its files, settings, tests and curl commands.

The files of the page replace those of the README's project, as `docs/how-to/index.rst` says.
"""

import argparse
import importlib
import json
import re
import subprocess
import sys
import unittest
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from weakref import ReferenceType

from celery import current_app
from django.apps import apps
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.http.response import HttpResponseBase
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from django.urls import clear_url_caches
from rest_framework.test import APIClient

from async_reply import tasks
from async_reply.models import Operation
from async_reply.signals import (
    operation_asked,
    operation_finished,
    operation_started,
    operation_submitted,
)
from async_reply.testing import run_operations
from tests.packaging.documents import README, Block, all_blocks, snippets, words

#: Packages that an example may write.
PACKAGES = ("project", "reports")
#: They would replace the Celery app of the suite.
NOT_WRITTEN = ("project/celery.py", "project/__init__.py")
SETTINGS = "project/settings.py"
#: Times of a page -> times that a test can wait for.
SHORTENED = {"time_limit=300": "time_limit=1", "time.sleep(60)": "time.sleep(0.3)"}
#: How pages write the id of the operation that was submitted last.
ID = "0192…"


@dataclass
class Answer:
    """The answer to a curl command."""

    status: int
    headers: dict[str, str]
    body: str


@dataclass
class Example:
    """The files of a page in `folder`, and a client that types its curl commands."""

    page: Path
    folder: Path
    client: APIClient = field(default_factory=lambda: APIClient(SERVER_NAME="example.org"))

    @property
    def blocks(self) -> list[Block]:
        return all_blocks(self.page)

    @property
    def files(self) -> dict[str, str]:
        """Each Python file: the README's, replaced by that of the page."""
        files = {**dict(snippets(README)), **dict(snippets(self.page))}
        return {path: text for path, text in files.items() if path not in NOT_WRITTEN}

    def write(self) -> None:
        for package in PACKAGES:
            (self.folder / package).mkdir()
            (self.folder / package / "__init__.py").touch()
        for path, text in self.files.items():
            for written, shorter in SHORTENED.items():
                text = text.replace(written, shorter)
            (self.folder / path).parent.mkdir(exist_ok=True)
            (self.folder / path).write_text(text)

    def settings(self) -> dict[str, Any]:
        """The settings of the page: its blocks for settings.py, executed one after the other."""
        names: dict[str, Any] = {"INSTALLED_APPS": [], "BASE_DIR": self.folder}
        for path, text in snippets(self.page):
            if path == SETTINGS:
                exec(text, names)
        return {name: value for name, value in names.items() if name.isupper()}

    def load(self) -> None:
        """Import every file."""
        clear_url_caches()
        self._create_tables()
        for path in self.files:
            if path.endswith(".conf.py"):
                exec((self.folder / path).read_text(), {})
            elif path != SETTINGS:
                importlib.import_module(path.removesuffix(".py").replace("/", "."))

    def _create_tables(self) -> None:
        """Create the tables of `reports/models.py` in the transaction of the test."""
        if "reports/models.py" not in self.files:
            return
        importlib.import_module("reports.models")
        editor = connection.schema_editor(collect_sql=True)
        editor.deferred_sql = []
        for model in apps.get_app_config("reports").get_models():
            sql, parameters = editor.table_sql(model)
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters)

    def unload(self) -> None:
        """Forget modules, receivers, tasks and models of the example."""
        disconnect_receivers()
        for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
            del sys.modules[name]
        for kind in [kind for kind in tasks.registered if kind.partition(".")[0] in PACKAGES]:
            del tasks.registered[kind]
            current_app.tasks.pop(kind, None)
        apps.all_models.pop("reports", None)
        apps.clear_cache()
        clear_url_caches()

    def test(self) -> None:
        """Run the tests of the page, if it has any."""
        if not any(path == "reports/tests.py" for path, _ in snippets(self.page)):
            return
        suite = unittest.defaultTestLoader.loadTestsFromName("reports.tests")
        result = unittest.TestResult()
        suite.run(result)
        problems = [text for _, text in (*result.errors, *result.failures)]
        assert (problems, result.testsRun > 0) == ([], True), problems

    def converse(self) -> int:
        """Send the curl commands and compare the answers; return how many the page shows."""
        compared = 0
        answer: Answer | None = None
        for block in self.blocks:
            if block.language == "console":
                for command in words(block.text):
                    answer = self._type(command) or answer
            elif block.language == "text" and block.text.startswith("HTTP/1.1 "):
                assert answer is not None, f"{self.page.name} shows an answer before a command"
                assert_matches(answer, block.text)
                compared += 1
        return compared

    def _type(self, command: list[str]) -> Answer | None:
        if command[0] == "printf":
            subprocess.run(["bash", "-c", shell(command)], cwd=self.folder, check=True)
        return self._curl(command[1:]) if command[0] == "curl" else None

    def _curl(self, command: list[str]) -> Answer:
        """The answer to a curl command; due jobs have run before a GET."""
        request = Curl.parsed(command, folder=self.folder, id=newest_id())
        if request.method in ("GET", "HEAD"):
            run_operations()
        self.client.force_authenticate(request.user())
        response = self.client.generic(
            request.method,
            request.path,
            request.body,
            content_type=request.content_type,
            headers=request.headers,
            secure=True,
        )
        return Answer(response.status_code, dict(response.items()), text_of(response))


def disconnect_receivers() -> None:
    """Disconnect the receivers of examples from the signals of operations."""
    signals = (operation_submitted, operation_started, operation_asked, operation_finished)
    for signal in signals:
        for _, reference, *_ in list(signal.receivers):
            # A receiver that was connected with weak=False stands there itself.
            receiver = reference() if isinstance(reference, ReferenceType) else reference
            if receiver is not None and receiver.__module__.partition(".")[0] in PACKAGES:
                signal.disconnect(receiver)


CURL = argparse.ArgumentParser("curl", allow_abbrev=False)
CURL.add_argument("url")
for flag in ("-i", "-s", "-N", "-I"):
    CURL.add_argument(flag, action="store_true")
for option in ("-o", "-C", "-u", "-X", "-r", "-d"):
    CURL.add_argument(option)
CURL.add_argument("-H", action="append", default=[])
CURL.add_argument("-F", action="append", default=[])


@dataclass
class Curl:
    """A request as curl would send it."""

    method: str
    path: str
    body: Any
    content_type: str
    headers: dict[str, str]
    username: str

    @classmethod
    def parsed(cls, command: list[str], *, folder: Path, id: str) -> "Curl":
        """The request of a command, with `id` where a page writes the id of an operation."""
        arguments = CURL.parse_args([word.replace(ID, id) for word in command])
        headers = dict(line.split(": ", 1) for line in arguments.H)
        if arguments.r:
            headers["Range"] = f"bytes={arguments.r}"
        body, content_type = (arguments.d or "").encode(), headers.pop("Content-Type", "")
        if arguments.F:
            fields = dict(line.split("=", 1) for line in arguments.F)
            form = {name: upload(value, folder=folder) for name, value in fields.items()}
            body, content_type = encode_multipart(BOUNDARY, form), MULTIPART_CONTENT
        method = "HEAD" if arguments.I else "POST" if body else "GET"
        url = urlsplit(arguments.url)
        assert url.netloc == "example.org", arguments.url
        return cls(
            method=arguments.X or method,
            path=f"{url.path}?{url.query}" if url.query else url.path,
            body=body,
            content_type=content_type or "application/octet-stream",
            headers=headers,
            username=arguments.u or "",
        )

    def user(self) -> User | None:
        """The user that `-u` names; the token of a page is ada's."""
        holds_token = self.headers.get("Authorization", "").startswith("Token ")
        name = self.username or ("ada" if holds_token else "")
        return User.objects.get_or_create(username=name)[0] if name else None


def upload(value: str, *, folder: Path) -> Any:
    """A value of a form: text, or `@file` with `;type=…`."""
    if not value.startswith("@"):
        return value
    name, _, content_type = value[1:].partition(";type=")
    content = (folder / name).read_bytes()
    return SimpleUploadedFile(name, content, content_type or "application/octet-stream")


def shell(command: list[str]) -> str:
    """A printf command whose output goes to a file."""
    _, text, arrow, name = command
    assert arrow == ">"
    return f"printf '{text}' > {name}"


def newest_id() -> str:
    operation = Operation.objects.order_by("-pk").first()
    return str(operation.pk) if operation is not None else ID


def text_of(response: HttpResponseBase) -> str:
    """The body; the test client closes what a stream has opened."""
    content: bytes = response.getvalue()
    return content.decode()


def assert_matches(answer: Answer, shown: str) -> None:
    """Each line that the page shows is there; `…` and the id stand for anything."""
    head, _, body = shown.partition("\n\n")
    first, *lines = head.splitlines()
    assert str(answer.status) == first.split()[1], f"{answer.status}: {answer.body}"
    for line in lines:
        name, _, value = line.partition(": ")
        assert re.fullmatch(pattern(value), answer.headers.get(name, "")), (line, answer.headers)
    if not same_json(body, answer.body):
        assert re.fullmatch(pattern(body), squeezed(answer.body)), (body, answer.body)


def same_json(one: str, other: str) -> bool:
    """Whether both are the same JSON; PostgreSQL stores members in an order of its own."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def pattern(text: str) -> str:
    """A regular expression for text in which `…` stands for anything."""
    parts = squeezed(text.replace(ID, "…")).split("…")
    return ".*".join(re.escape(part.strip()) for part in parts)


def squeezed(text: str) -> str:
    """Without the spaces between the parts of JSON, and each other run of space as one."""
    return re.sub(r"([,:{\[]) ", r"\1", " ".join(text.split()))
