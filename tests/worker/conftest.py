import pytest

from async_reply import heartbeats


@pytest.fixture(autouse=True)
def _inline_jobs_look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "INLINE_TICK", 0)
