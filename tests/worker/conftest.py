from collections.abc import Iterator

import pytest

from async_reply.attempts import claims
from tests.worker.brokers import close_pools


@pytest.fixture(autouse=True)
def _inline_jobs_look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "INLINE_TICK", 0)


@pytest.fixture(autouse=True)
def _connections_closed() -> Iterator[None]:
    yield
    close_pools()
