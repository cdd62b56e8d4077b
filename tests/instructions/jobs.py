"""Runs tasks as a child process of a worker does: `python -m tests.instructions.jobs COUNT`.

As in `requests`, a fork runs each kind of task, and one fork runs no more than the others do for a
start. Prints the name and the process id of each child.
"""

import gc
import json
import os
import sys
from typing import Any

from benchmarks.rivals.app import app

TASKS = {"job": "ours.work", "naive job": "naive.work", "limit job": "limit.work"}
INPUT = {"number": 7, "text": "seven"}
WARM_UP = 5
HOST = "celery@instructions"


def main(count: int) -> None:
    app.set_default()
    import django

    django.setup()
    app.loader.import_default_modules()
    app.finalize()
    from django.db import connections

    children = ("nothing", *TASKS)
    # A worker makes no operations, so they are made before the children are.
    operations = [make_operation() for _ in range(count + WARM_UP * len(children))]
    connections.close_all()
    for name in children:
        pid = os.fork()
        if not pid:
            run(name, count, operations)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0, name
        del operations[:WARM_UP]
        sys.stdout.write(f"{name}: {pid}\n")


def make_operation() -> str:
    from async_reply import services
    from benchmarks.rivals.ours import work

    return str(services.submit(work, input=INPUT).pk)


def run(name: str, count: int, operations: list[str]) -> None:
    """Run tasks of each name for a start, then `count` of this one."""
    from celery import signals
    from celery.app import trace
    from celery.fixups.django import DjangoWorkerFixup  # type: ignore[attr-defined]

    DjangoWorkerFixup(app).install()
    trace.setup_worker_optimizations(app, HOST)
    for task in map(app.tasks.__getitem__, TASKS.values()):
        task.__trace__ = trace.build_tracer(task.name, task, app.loader, HOST, app=app)
    signals.worker_process_init.send(sender=None)
    for each in TASKS:
        for pk in operations[:WARM_UP]:
            run_task(each, pk)
    gc.collect()
    gc.freeze()
    if name in TASKS:
        for pk in operations[-count:]:
            run_task(name, pk)


def run_task(name: str, pk: str) -> None:
    """Run the task of a message, as a child process of the pool does."""
    from celery.app.trace import fast_trace_task

    task = app.tasks[TASKS[name]]
    request: dict[str, Any] = dict.fromkeys(("id", "root_id", "correlation_id"), pk)
    request |= {"lang": "py", "task": task.name, "hostname": HOST, "retries": 0, "reply_to": ""}
    request |= {"is_eager": False, "delivery_info": {}, "timelimit": [None, None]}
    request["ignore_result"] = bool(task.ignore_result)
    arguments: dict[str, Any] = {} if name == "job" else INPUT
    body = json.dumps([[], arguments, {"callbacks": None, "errbacks": None, "chain": None}])
    is_failed, value, _ = fast_trace_task(
        task.name, pk, request, body.encode(), "application/json", "utf-8"
    )
    assert not is_failed, value


if __name__ == "__main__":
    main(int(sys.argv[1]))
