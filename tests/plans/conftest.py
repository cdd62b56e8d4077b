"""Fills the table of operations for each module of these tests."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.plans import filling


@pytest.fixture(scope="module", autouse=True)
def _filled(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        filling.fill()
        yield
        filling.clear()
