"""Settings of the fault suite. FAULTS_FULL=1 adds the tests that take long."""

import os
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

FULL = os.environ.get("FAULTS_FULL") == "1"


@pytest.fixture(scope="session", autouse=True)
def processes_end_with_the_tests() -> Iterator[None]:
    """A signal that stops the tests also stops their servers and workers."""

    def stop(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signums = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = [signal.signal(signum, stop) for signum in signums]
    yield
    for signum, handler in zip(signums, before, strict=True):
        signal.signal(signum, handler)
