"""The short form runs with the suite; FAULTS_FULL=1 adds what takes long."""

import os
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

FULL = os.environ.get("FAULTS_FULL") == "1"


@pytest.fixture(scope="session", autouse=True)
def ends_what_it_started() -> Iterator[None]:
    """Whoever stops the tests, servers and workers are stopped with them."""

    def stop(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signums = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = [signal.signal(signum, stop) for signum in signums]
    yield
    for signum, handler in zip(signums, before, strict=True):
        signal.signal(signum, handler)
