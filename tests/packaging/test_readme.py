"""README and tutorial, followed to the letter in an environment with only what they install.

The tests choose the ports, the number of the Redis database and the passwords, as a reader would.
They also shorten the lease, so that a crash is noticed sooner.
"""

import json
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest

from demo_project.processes import Process, free_port, listens, wait_for
from tests.conftest import need_service
from tests.packaging.conftest import Make
from tests.packaging.documents import README, TUTORIAL, commands, snippets
from tests.packaging.environments import Environment

pytestmark = pytest.mark.packaging

PASSWORD = "of my own choice"
# runserver restarts when code has changed, and drops its connections then.
RETRY_OPTIONS = ("-s", "--retry", "30", "--retry-delay", "1", "--retry-all-errors")
#: A text of the documents -> the text that the tests use instead.
REPLACEMENTS = {
    "redis://localhost:6379": "redis://localhost:6379/5",
    "CELERY_DB_REUSE_MAX = 1000": 'CELERY_DB_REUSE_MAX = 1000\nASYNC_REPLY = {"LEASE": 6}',
    "time.sleep(5)": "time.sleep(0.5)",
}
#: The files of the tutorial: the Celery app, the versions of the job, production.
CELERY_APP, FAILURE, CRASH, PRODUCTION = slice(2), slice(2, 3), slice(3, 4), slice(4, None)


def test_readme__is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150


@dataclass
class Newcomer:
    """A reader of the tutorial, who starts in an empty folder and types its commands."""

    environment: Environment
    folder: Path
    port: int = field(default_factory=free_port)
    #: The commands that have ended -> their output.
    outputs: dict[str, str] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)

    def write(self, document: Path, section: slice = slice(None)) -> None:
        """Write snippets of a page to the files that their first lines name."""
        for name, content in snippets(document)[section]:
            path = self.folder / name
            before = path.read_text() if path.name == "settings.py" else ""
            for old, new in REPLACEMENTS.items():
                content = content.replace(old, new)
            path.write_text(before + content)

    def type(self, *words: str, status: int = 0) -> str:
        return self.environment.run(
            *words, cwd=self.folder, status=status, DJANGO_SUPERUSER_PASSWORD=PASSWORD
        )

    def start(self, *words: str) -> Process:
        """Start a command that runs on, as in a terminal of its own."""
        program = str(self.environment.bin / words[0])
        process = Process(
            words[0],
            [program, *words[1:]],
            logs=self.folder / "logs",
            environment=self.environment.variables,
            folder=self.folder,
        )
        self.processes[words[0]] = process
        return process

    def curl(self, *words: str) -> tuple[int, dict[str, str], str]:
        """Run a curl command of the tutorial; return the answer's status, headers and body."""
        passwords = {"ada": f"ada:{PASSWORD}"}
        words = tuple(
            passwords.get(word, word).replace("localhost:8000", f"localhost:{self.port}")
            for word in words
        )
        head, _, body = self.type("curl", *RETRY_OPTIONS, *words).partition("\n\n")
        first, *lines = head.splitlines()
        fields = dict(line.split(": ", 1) for line in lines)
        return int(first.split()[1]), fields, body

    def outcome(self, status_url: str) -> tuple[int, dict[str, str], str]:
        """Poll until the status URL redirects to the result; return the result."""
        give_up = time.monotonic() + 120
        while True:
            status, fields, body = self.curl("-i", "-u", "ada", status_url)
            if status == 302:
                return self.curl("-i", "-u", "ada", fields["Location"])
            assert (status, "Retry-After" in fields) == (200, True), body
            assert time.monotonic() < give_up, self.processes["celery"].tail()
            time.sleep(int(fields["Retry-After"]))


@pytest.fixture(scope="module")
def newcomer(environment: Make, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    """A reader who has followed the tutorial up to the submit."""
    need_service("Redis", port=6379)
    folder = tmp_path_factory.mktemp("newcomer")
    remaining = iter(commands(TUTORIAL))
    install = next(remaining)
    assert install == commands(README)[-1] == ["pip", "install", "django-async-reply[redis]"]
    reader = Newcomer(environment(extra="redis"), folder)
    reader.type(*next(remaining))
    reader.type(*next(remaining))
    reader.write(TUTORIAL, CELERY_APP)
    reader.write(README)
    for words in remaining:
        if words[0] == "celery":
            break
        answers = ["--noinput"] if "createsuperuser" in words else []
        reader.outputs[" ".join(words[2:])] = reader.type(*words, *answers)
    try:
        reader.start(*words)
        reader.start(*next(remaining), f"localhost:{reader.port}")
        wait_for(
            lambda: listens(reader.port),
            processes=list(reader.processes.values()),
            what="runserver",
            seconds=60,
        )
        yield reader
    finally:
        for process in reader.processes.values():
            process.stop()


def curls() -> list[list[str]]:
    """The curl commands of the tutorial, without the word curl."""
    return [words[1:] for words in commands(TUTORIAL) if words[0] == "curl"]


def start_worker(newcomer: Newcomer) -> None:
    newcomer.start(*next(words for words in commands(TUTORIAL) if words[0] == "celery"))


def test_check__has_the_one_warning_that_the_tutorial_explains(newcomer: Newcomer) -> None:
    ids = re.findall(r"async_reply\.[EW]\d+", newcomer.outputs["check"])
    assert set(ids) == {"async_reply.W103"}


def test_tests__of_the_project_pass(newcomer: Newcomer) -> None:
    assert "OK" in newcomer.outputs["test reports"]


def test_submit__is_accepted_and_succeeds(newcomer: Newcomer) -> None:
    status, fields, body = newcomer.curl(*curls()[0])
    assert status == 202, body
    assert json.loads(body)["status"] == "pending"
    assert int(fields["Retry-After"]) >= 1
    status, fields, body = newcomer.outcome(fields["Location"])
    assert (status, json.loads(body)) == (200, {"year": 2026, "rows": 1200})


def test_submit__of_an_invalid_body_is_a_problem(newcomer: Newcomer) -> None:
    words = [word.replace("2026", "1") for word in curls()[0]]
    status, fields, body = newcomer.curl(*words)
    assert (status, fields["Content-Type"]) == (400, "application/problem+json")
    assert "year" in json.loads(body)["errors"]


def test_admin__redirects_to_the_login(newcomer: Newcomer) -> None:
    status, fields, _ = newcomer.curl("-i", "http://localhost:8000/admin/")
    assert (status, fields["Location"]) == (302, "/admin/login/?next=/admin/")


def test_failure__is_a_problem_with_the_message_of_the_job(newcomer: Newcomer) -> None:
    newcomer.write(TUTORIAL, FAILURE)
    newcomer.processes["celery"].stop()
    start_worker(newcomer)
    status, fields, body = newcomer.curl(*curls()[1])
    assert status == 202, body
    status, fields, body = newcomer.outcome(fields["Location"])
    assert (status, fields["Content-Type"]) == (422, "application/problem+json")
    problem = json.loads(body)
    assert (problem["detail"], problem["code"]) == ("The year is not over.", "year-not-over")


STEPS = """
import json
from async_reply.models import OperationStep
steps = OperationStep.objects.order_by("ordinal")
print(json.dumps([[step.name, step.attempt] for step in steps]))
"""


def test_crash__of_the_worker_lets_the_job_go_on(newcomer: Newcomer) -> None:
    newcomer.write(TUTORIAL, CRASH)
    newcomer.processes["celery"].stop()
    start_worker(newcomer)
    _, fields, _ = newcomer.curl(*curls()[2])

    def shows(expected: str) -> bool:
        return expected in newcomer.curl("-i", "-u", "ada", fields["Location"])[2]

    wait_until(lambda: shows(" of 12"))
    newcomer.processes["celery"].kill()
    start_worker(newcomer)
    wait_until(lambda: shows('"attempt":2'))
    status, _, body = newcomer.outcome(fields["Location"])
    assert (status, json.loads(body)) == (200, {"year": 2026, "rows": 1200})
    lines = newcomer.type("python", "manage.py", "shell", "-c", STEPS).splitlines()
    [steps] = [json.loads(line) for line in lines if line.startswith("[[")]
    names, attempts = zip(*steps, strict=True)
    assert names == tuple(f"month {month}" for month in range(1, 13))
    assert attempts[0] == 1
    assert set(attempts) == {1, 2}


PK = re.compile("[0-9a-f-]{36}")
SUBMIT = """
from datetime import timedelta
from django.utils import timezone
from async_reply import services
from reports.tasks import export_report
soon = timezone.now() + timedelta(seconds=2)
for options in ({}, {"available_at": soon}):
    print(services.submit(export_report, input={"year": 2026}, **options).pk)
"""
# Imports no task. A management command may not import any either.
RERUN = """
from async_reply import services
from async_reply.models import Operation
print(services.rerun(Operation.objects.get(pk="{pk}")).pk)
"""
FORGOTTEN = """
from async_reply import services
from reports.work import forgotten
print(services.submit(forgotten).pk)
"""
WORK = """
from async_reply.tasks import operation_task

@operation_task
def forgotten(operation): ...
"""


def shell(newcomer: Newcomer, code: str) -> list[str]:
    """The ids that the code prints. Other lines are of the log."""
    lines = newcomer.type("python", "manage.py", "shell", "-c", code).splitlines()
    return [line for line in lines if PK.fullmatch(line)]


def status_of(newcomer: Newcomer, pk: str) -> str:
    """The status in the row. The operation has no owner, so HTTP does not show it."""
    with closing(sqlite3.connect(newcomer.folder / "db.sqlite3", timeout=30)) as database:
        query = "SELECT status FROM async_reply_operation WHERE id = ?"
        (status,) = database.execute(query, [UUID(pk).hex]).fetchone()
    return str(status)


def wait_until(condition: Callable[[], bool], *, seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.5)


def test_shell__submits_now_and_later_and_reruns(newcomer: Newcomer) -> None:
    now, later = shell(newcomer, SUBMIT)[-2:]
    wait_until(lambda: status_of(newcomer, now) == "succeeded")
    rerun = shell(newcomer, RERUN.format(pk=now))[-1]
    wait_until(lambda: status_of(newcomer, later) == status_of(newcomer, rerun) == "succeeded")


def test_worker__logs_the_remedy_for_an_unknown_kind(newcomer: Newcomer) -> None:
    (newcomer.folder / "reports/work.py").write_text(WORK)
    pk = shell(newcomer, FORGOTTEN)[-1]
    log = newcomer.processes["celery"].log
    wait_until(
        lambda: f"id={pk} kind=reports.work.forgotten: this worker does not know" in log.read_text()
    )
    assert "CELERY_IMPORTS" in log.read_text()
    assert status_of(newcomer, pk) == "pending"


@pytest.fixture
def copy(newcomer: Newcomer, tmp_path: Path) -> Newcomer:
    """A copy of the newcomer's project, which a test may break. The servers keep the original."""
    folder = tmp_path / "copy"
    shutil.copytree(newcomer.folder, folder, ignore=shutil.ignore_patterns("logs", "db.sqlite3*"))
    return Newcomer(newcomer.environment, folder)


def test_check__names_the_remedy_for_a_missing_celery_app(copy: Newcomer) -> None:
    (copy.folder / "project" / "__init__.py").write_text("")
    output = copy.type("python", "manage.py", "check", status=1)
    assert "async_reply.E001" in output
    assert "from .celery import app as celery_app" in output


def test_check__names_the_remedy_for_an_app_missing_in_installed_apps(copy: Newcomer) -> None:
    settings = copy.folder / "project" / "settings.py"
    text = settings.read_text()
    assert '"async_reply", ' in text
    settings.write_text(text.replace('"async_reply", ', ""))
    output = copy.type("python", "manage.py", "check", status=1)
    assert "async_reply" in output
    assert "INSTALLED_APPS" in output
