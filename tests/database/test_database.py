from typing import Any

import pytest
from django.db import OperationalError, connection

from async_reply import database


@pytest.mark.django_db
def test_answers() -> None:
    assert database.answers()

    def refuse(*_args: Any) -> Any:
        raise OperationalError

    with connection.execute_wrapper(refuse):
        assert not database.answers()
