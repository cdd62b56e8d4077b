"""The last section of the tutorial: production, typed with this Python and its packages."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from async_reply import client
from demo_project.processes import Process, free_port, listens, wait_for
from tests.conftest import need_service
from tests.packaging.documents import README, TUTORIAL, commands, snippets
from tests.packaging.environments import clean

pytestmark = [pytest.mark.system, pytest.mark.services, pytest.mark.projects]

DATABASE = "ar_tutorial"
PASSWORD = "of my own choice"
#: A text of the documents -> the text that the test uses instead.
REPLACEMENTS = {
    '"NAME": "reports"': f'"NAME": "{DATABASE}"',
    "redis://localhost:6379": "redis://localhost:6379/5",
    "time.sleep(5)": "time.sleep(0.05)",
    # A command on a busy machine takes longer to find the broker.
    "ASYNC_REPLY = {": (
        'CELERY_TASK_DEFAULT_QUEUE = "tutorial"\nASYNC_REPLY = {"PUBLISH_TIMEOUT": 20, '
    ),
}


def production() -> list[list[str]]:
    """The commands behind the installation of the last section."""
    words = commands(TUTORIAL)
    [first] = [number for number, command in enumerate(words) if command[0] == "createdb"]
    return words[first + 1 :]


@dataclass
class Site:
    """The project of the tutorial in a folder, with the settings for production."""

    folder: Path
    port: int = field(default_factory=free_port)
    outputs: dict[str, str] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        secrets = {"SECRET_KEY": "f1d2" * 16, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
        return {**clean(), **secrets, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}

    def write(self) -> None:
        self.run([sys.executable, "-m", "django", "startproject", "project", "."])
        self.run([sys.executable, "manage.py", "startapp", "reports"])
        for name, content in (*snippets(README), *snippets(TUTORIAL)):
            path = self.folder / name
            before = path.read_text() if path.name == "settings.py" else ""
            for old, new in REPLACEMENTS.items():
                content = content.replace(old, new)
            path.write_text(before + content)

    def run(self, words: list[str]) -> str:
        process = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout + process.stderr

    def type(self, words: list[str]) -> None:
        """Type a command of the page; servers go on in the background."""
        if words[0] == "python":
            answers = ["--noinput"] if "createsuperuser" in words else []
            self.outputs[" ".join(words[2:])] = self.run([sys.executable, *words[1:], *answers])
        elif words[0] in ("gunicorn", "celery"):
            options = ["--bind", f"localhost:{self.port}"] if words[0] == "gunicorn" else []
            self.processes.append(self.start([sys.executable, "-m", *words, *options]))

    def start(self, command: list[str]) -> Process:
        return Process(
            command[2],
            command,
            logs=self.folder / "logs",
            environment=self.environment,
            folder=self.folder,
        )

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://localhost:{self.port}{path}", timeout=60)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The project in production, up to the servers that run."""
    psycopg = pytest.importorskip("psycopg", reason="needs the extra postgresql")
    need_service("PostgreSQL", port=5432)
    need_service("Redis", port=6379)
    site = Site(tmp_path_factory.mktemp("production"))
    with psycopg.connect("postgres://postgres@localhost/postgres", autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {DATABASE}")
        try:
            site.write()
            typed = production()
            end = next(number for number, words in enumerate(typed) if words[0] == "curl")
            for words in typed[:end]:
                site.type(words)
            wait_for(
                lambda: listens(site.port), processes=site.processes, what="gunicorn", seconds=60
            )
            wait_for(
                lambda: site.get("/health/").status_code == 200,
                processes=site.processes,
                what="the worker",
                seconds=60,
            )
            yield site
        finally:
            for process in site.processes:
                process.stop()
            server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def test_check__has_no_message_of_the_package(site: Site) -> None:
    [output] = [text for words, text in site.outputs.items() if words.startswith("check --deploy")]
    assert "security.W" in output
    assert "async_reply" not in output


def test_health__names_each_part(site: Site) -> None:
    document = site.get("/health/").json()
    assert {"status": "ok", "database": True, "broker": True, "workers": 1}.items() <= set(
        document.items()
    )
    assert document["waiting"] == 0


def test_status__says_that_all_is_well(site: Site) -> None:
    words = next(command for command in production() if "async_reply_status" in command)
    assert "critical" not in site.run([sys.executable, *words[1:]]).lower()


def test_submit__is_answered_by_its_result(site: Site) -> None:
    url = f"http://localhost:{site.port}/api/reports/"
    with httpx.Client(auth=("ada", PASSWORD), timeout=60) as http:
        result = client.submit(http, url, json={"year": 2026}, timeout=120)
    assert result.json() == {"year": 2026, "rows": 1200}
