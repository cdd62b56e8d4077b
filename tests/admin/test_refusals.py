"""The reasons of refused commands, in the language of the operator."""

from collections.abc import Callable

import pytest
from django.utils.translation import override

from async_reply import services
from async_reply.admin import commands, refusals
from async_reply.models import Operation
from async_reply.status import Status

#: A command, and a status in which it leaves an operation as it is.
REFUSED = [
    *(("cancel", status) for status in (Status.SUCCEEDED, Status.FAILED, Status.CANCELED)),
    *(("rerun", status) for status in (Status.PENDING, Status.RUNNING)),
    *(("delete", status) for status in (Status.PENDING, Status.CANCELING)),
    *(("end-process", status) for status in (Status.PENDING, Status.SUCCEEDED)),
]


def reason(name: str, operation: Operation) -> str:
    """Why the command leaves the operation as it is."""
    [text] = commands.run(commands.COMMANDS[name], [operation]).refused
    return text


@pytest.mark.parametrize(("name", "status"), REFUSED)
def test_reason__is_in_the_language_of_the_operator(
    in_status: Callable[..., Operation], name: str, status: Status
) -> None:
    operation = in_status(status)
    english = reason(name, operation)
    with override("de"):
        german = reason(name, operation)
    assert english in refusals.TEXTS
    assert german != english
    assert "Vorgang" in german


@pytest.mark.parametrize("name", ["rerun", "delete"])
def test_reason__of_deleted_content_is_in_the_language_of_the_operator(
    in_status: Callable[..., Operation], name: str
) -> None:
    operation = in_status(Status.FAILED)
    services.delete(operation)
    operation.refresh_from_db()
    with override("de"):
        assert reason(name, operation) not in refusals.TEXTS


def test_reason__without_a_translation_stays_as_it_is() -> None:
    with override("de"):
        assert refusals.translated(ValueError("Out of paper.")) == "Out of paper."
