"""Counts how many layers one request crosses: `python -m benchmarks.layers`.

For a submit and for a poll of a pending operation, it prints the modules of async_reply that the
request enters, the moves between its packages, and the calls of its functions. The demo project
answers, with its URLs and its middleware. To measure another commit, set PYTHONPATH to its folder
and run this file by its path.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

WARM_UPS = 5
PACKAGE = "async_reply"
#: Newer Pythons run comprehensions inside their function, so they do not count as functions.
COMPREHENSIONS = {"<dictcomp>", "<genexpr>", "<listcomp>", "<setcomp>"}


@dataclass
class Trace:
    """The calls of the package's functions during one request. A resumed generator is a call."""

    modules: dict[str, int] = field(default_factory=dict)
    #: Calls from a function of one package to one of another, through any code between the two.
    moves: int = 0

    @property
    def calls(self) -> int:
        return sum(self.modules.values())

    def profile(self, frame: FrameType, event: str, _argument: object) -> None:
        """The callback of `sys.setprofile`."""
        module = _module(frame)
        if event != "call" or module is None or frame.f_code.co_name in COMPREHENSIONS:
            return
        self.modules[module] = self.modules.get(module, 0) + 1
        caller = _calling_module(frame)
        if caller is not None and _package(caller) != _package(module):
            self.moves += 1


def _module(frame: FrameType) -> str | None:
    """The dotted path of the frame's module below the package; None outside the package."""
    name = str(frame.f_globals.get("__name__", ""))
    return name.removeprefix(f"{PACKAGE}.") if name.startswith(f"{PACKAGE}.") else None


def _calling_module(frame: FrameType) -> str | None:
    """The module of the nearest function of the package from which `frame` was called."""
    caller = frame.f_back
    while caller is not None:
        module = _module(caller)
        if module is not None:
            return module
        caller = caller.f_back
    return None


def _package(module: str) -> str:
    return module.partition(".")[0]


def traced(request: Callable[[], Any]) -> tuple[Any, Trace]:
    """The response to a request, and the trace of it."""
    trace = Trace()
    sys.setprofile(trace.profile)
    try:
        response = request()
    finally:
        sys.setprofile(None)
    return response, trace


def measure() -> dict[str, Trace]:
    """The trace of each kind of request, after requests that filled the caches."""
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import Client
    from rest_framework.authtoken.models import Token

    call_command("migrate", verbosity=0)
    token = Token.objects.create(user=User.objects.create_user("ada"))
    client = Client(headers={"Authorization": f"Token {token.key}"})

    def submit() -> Any:
        return client.post("/api/sleeps/", {"seconds": 1}, content_type="application/json")

    for _ in range(WARM_UPS):
        client.get(submit()["Location"])
    accepted, submit_trace = traced(submit)
    polled, poll_trace = traced(lambda: client.get(accepted["Location"]))
    assert accepted.status_code == 202, accepted.content
    assert polled.json()["status"] == "pending", polled.content
    return {"POST of a submit": submit_trace, "poll of a pending operation": poll_trace}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # The demo's embedded database and broker, both empty.
        for name in ("DATABASE_URL", "CELERY_BROKER_URL"):
            os.environ.pop(name, None)
        os.environ |= {
            "DEMO_DIR": folder,
            "DEBUG": "0",
            "SECRET_KEY": "of the benchmark " * 4,
            "DJANGO_SETTINGS_MODULE": "demo_project.settings",
        }
        import django

        django.setup()
        traces = measure()
    import async_reply

    print(f"{Path(async_reply.__file__).parent}, Python {sys.version.split()[0]}\n")
    print(f"{'':30}{'modules':>10}{'moves':>10}{'calls':>10}")
    for name, trace in traces.items():
        print(f"{name:30}{len(trace.modules):10}{trace.moves:10}{trace.calls:10}")
    for name, trace in traces.items():
        print(f"\n{name}, modules in the order of entry, with their calls:")
        print(", ".join(f"{module} {calls}" for module, calls in trace.modules.items()))


if __name__ == "__main__":
    main()
