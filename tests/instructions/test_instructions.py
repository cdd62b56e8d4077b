"""How many instructions a request takes, beside the naive API and the least that could answer.

Unlike seconds, instructions hardly depend on the machine and on other load.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import need_service
from tests.stacks import services

pytestmark = pytest.mark.instructions

#: Requests that are counted. More make no difference to the ratios.
COUNT = 30
#: The most instructions of a request, as a multiple of another one's.
BOUNDS = [
    ("poll", "naive poll", 0.48),
    ("poll by key", "limit", 2.7),
    ("submit", "naive submit", 0.93),
    ("job", "naive job", 0.98),
    ("job", "limit job", 7.0),
]


@pytest.fixture(scope="module")
def counts() -> dict[str, float]:
    """Instructions of one request or job, by its name."""
    if not shutil.which("valgrind"):
        pytest.skip("needs valgrind: apt install valgrind")
    need_service("RabbitMQ", port=5672)
    with services.postgresql("async_reply_instructions") as database:
        environment = {
            **os.environ,
            **database,
            "CELERY_BROKER_URL": "amqp://guest:guest@127.0.0.1:5672//",
            "DJANGO_SETTINGS_MODULE": "benchmarks.rivals.settings",
            "PYTHONHASHSEED": "0",
        }
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], env=environment, check=True)
        return {**run("requests", environment), **run("jobs", environment)}


def run(module: str, environment: dict[str, str]) -> dict[str, float]:
    """Instructions of one request or job of each name, from the children of `module`."""
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no"]
    command += ["--cachegrind-out-file=/dev/null", sys.executable]
    command += ["-m", f"tests.instructions.{module}", str(COUNT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    names = dict(line.split(": ")[::-1] for line in done.stdout.splitlines())
    counts = re.findall(r"^==(\d+)== I\s+refs:\s+([\d,]+)", done.stderr, re.MULTILINE)
    totals = {names[pid]: int(count.replace(",", "")) for pid, count in counts if pid in names}
    return {name: (total - totals["nothing"]) / COUNT for name, total in totals.items()}


@pytest.mark.parametrize(("name", "rival", "most"), BOUNDS)
def test_request__takes_few_instructions(
    counts: dict[str, float], name: str, rival: str, most: float
) -> None:
    ratio = counts[name] / counts[rival]
    assert ratio <= most, f"{name}: {ratio:.2f} x {rival} of {counts}"
