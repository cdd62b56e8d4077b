"""Measures what the app adds to `django.setup()` and to a worker's memory, and whether polls leak.

    python -m benchmarks.start [--polls 200000]

Both projects are alike, with Django's auth, REST framework and Celery. One of them has async_reply
installed as well. Starts are interleaved, and each figure is the median. The process that polls
uses SQLite in memory.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

APPS = ["django.contrib.contenttypes", "django.contrib.auth", "rest_framework"]

#: A project of one module. It prints as JSON what the code in `measure` returns.
PROJECT = """
import json, time
import celery, django.conf
django.conf.settings.configure(
    INSTALLED_APPS={apps!r}, SECRET_KEY="x" * 50, ROOT_URLCONF="benchmarks.start", USE_TZ=True,
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
app = celery.Celery("start", broker="memory://")
app.set_default()
# The project imports it anyway.
import django, rest_framework.views
started = time.process_time()
django.setup()
seconds = time.process_time() - started
if {worker!r}:
    # A worker imports these modules before its pool forks.
    import celery.apps.worker, celery.worker.consumer, celery.concurrency.prefork
    import django.db.backends.sqlite3.base
    app.loader.import_default_modules()
    app.finalize()
    for name in {modules!r}:
        __import__(name)
memory = next(
    int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")
)
print(json.dumps([1000 * seconds, memory / 1024]))
"""
#: The modules that Celery's autodiscovery and a job import in a worker with async_reply.
WORKER_MODULES = [
    "async_reply.tasks",
    "async_reply.worker.receivers",
    "async_reply.worker.requests",
]


def start(*, ours: bool, worker: bool) -> tuple[float, float]:
    """Milliseconds of processor time of `django.setup()`, and MiB of resident memory."""
    code = PROJECT.format(
        apps=[*APPS, *(["async_reply"] if ours else [])],
        worker=worker,
        modules=WORKER_MODULES if ours else [],
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    milliseconds, memory = json.loads(output.stdout.splitlines()[-1])
    return milliseconds, memory


def measure_starts(runs: int) -> None:
    figures: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    workers: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for _ in range(runs):
        for ours in (False, True):
            figures[ours].append(start(ours=ours, worker=False))
            workers[ours].append(start(ours=ours, worker=True))
    for title, values, place, unit, goal in (
        ("django.setup()", figures, 0, "ms", 30),
        ("a worker's memory", workers, 1, "MiB", 10),
    ):
        without, with_ours = (
            statistics.median(value[place] for value in values[ours]) for ours in (False, True)
        )
        added = with_ours - without
        print(f"{title}: {without:.1f} -> {with_ours:.1f} {unit}, +{added:.1f} (goal {goal})")


def resident() -> float:
    line = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
    return int(line.split()[1]) / 1024


def measure_polls(polls: int) -> None:
    """Print the memory of a process after each fifth of the polls."""
    os.environ |= {"DJANGO_SETTINGS_MODULE": "demo_project.settings", "DEBUG": "0"}
    os.environ |= {"SECRET_KEY": "only-for-the-benchmark" * 3}
    import django
    from django.conf import settings

    settings.DATABASES["default"] = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ":memory:",
    }
    django.setup()
    import logging

    from django.core.management import call_command

    import demo_project.celery  # noqa: F401 it becomes the current app

    logging.disable(logging.WARNING)
    call_command("migrate", verbosity=0)
    from django.contrib.auth.models import User
    from django.core.wsgi import get_wsgi_application
    from rest_framework.authtoken.models import Token

    from async_reply.models import Operation

    user = User.objects.create_user("ada")
    token = Token.objects.create(user=user).key
    rows = [Operation.objects.create(kind="demo.export", owner=str(user.pk)) for _ in range(100)]
    application = get_wsgi_application()

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        statuses.add(status)

    def poll(pk: object) -> None:
        # Not by Django's test client: it connects signals at each request, and its memory grows.
        environ = {"HTTP_AUTHORIZATION": f"Token {token}"}
        setup_testing_defaults(environ)
        environ["PATH_INFO"] = f"/api/operations/{pk}/monitor/"
        answer: Any = application(environ, start_response)
        b"".join(answer)
        answer.close()

    statuses: set[str] = set()
    for row in rows * 20:  # caches fill
        poll(row.pk)
    memory = [resident()]
    for _ in range(5):
        for number in range(polls // 5):
            poll(rows[number % 100].pk)
        memory.append(resident())
    assert statuses == {"200 OK"}, statuses
    print(f"{polls:,} polls:", " -> ".join(f"{value:.1f}" for value in memory), "MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--polls", type=int, default=200_000)
    options = parser.parse_args()
    measure_starts(options.runs)
    if options.polls:
        measure_polls(options.polls)


urlpatterns: list[object] = []

if __name__ == "__main__":
    main()
