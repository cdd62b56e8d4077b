"""The fixture `operations` for pytest. Nothing else is imported until a test asks for it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from async_reply.testing import Operations


@pytest.fixture
def operations(db: None) -> "Iterator[Operations]":
    """Runs a test's operations: no message is sent, and files stay in memory."""
    from async_reply.testing import Operations, isolated

    with isolated():
        yield Operations()
