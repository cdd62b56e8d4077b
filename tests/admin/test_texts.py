"""The reasons of refused commands and the details of errors, in the language of the operator."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils.translation import gettext, override

import async_reply
from async_reply import services
from async_reply.admin import commands, texts
from async_reply.admin.questions import NOT_OPEN
from async_reply.admin.steps import command_from
from async_reply.models import Operation
from async_reply.status import Status

PACKAGE = Path(async_reply.__file__).parent
#: The modules of which commands of the admin call functions.
CALLED = ("services", "admin", "tasks.py")
#: The modules that store errors.
STORING = ("attempts", "lifecycle.py", "columns.py", "admin/bulk_job.py")
#: The functions that make an error, with the position of its text.
MAKERS = {"failure": 1, "_problem": 1, "_Choice": 1, "OperationFailed": 0}
#: Texts that no operator reads there: questions have a message of their own, and a POST has a key.
OTHERS = (
    r"The question .* was answered by somebody else, or otherwise\.",
    r"The operation has finished: nothing is asked any more\.",
    r"The operation does not ask .* now\.",
    r"The task does not declare the question .* any more\.",
    r"The operation of this idempotency key was deleted or has expired: use a new key\.",
)
#: A command, and a status in which it leaves an operation as it is.
REFUSED = [
    *(("cancel", status) for status in (Status.SUCCEEDED, Status.FAILED, Status.CANCELED)),
    *(("rerun", status) for status in (Status.PENDING, Status.RUNNING)),
    *(("delete", status) for status in (Status.PENDING, Status.CANCELING)),
    *(("end-process", status) for status in (Status.PENDING, Status.SUCCEEDED)),
]


def reason(command: commands.Command | str, operation: Operation) -> str:
    """Why the command leaves the operation as it is."""
    if isinstance(command, str):
        command = commands.COMMANDS[command]
    [text] = commands.run(command, [operation]).refused
    return text


@pytest.mark.parametrize(("name", "status"), REFUSED)
def test_reason__is_in_the_language_of_the_operator(
    in_status: Callable[..., Operation], name: str, status: Status
) -> None:
    operation = in_status(status)
    english = reason(name, operation)
    with override("de"):
        german = reason(name, operation)
    assert english in texts.TEXTS
    assert german != english
    assert "Operation" in german


@pytest.mark.parametrize("name", ["rerun", "delete"])
def test_reason__of_deleted_content_is_in_the_language_of_the_operator(
    in_status: Callable[..., Operation], name: str
) -> None:
    operation = in_status(Status.FAILED)
    services.delete(operation)
    operation.refresh_from_db()
    with override("de"):
        assert reason(name, operation) not in texts.TEXTS


def test_reason__names_the_kind_that_is_unknown(in_status: Callable[..., Operation]) -> None:
    operation = in_status(Status.FAILED)
    operation.kind = "tests.o'clock"
    english = """No operation task is called "tests.o'clock": is its module imported?"""
    assert reason("rerun", operation) == english
    with override("de"):
        german = """Kein Task von Operationen heißt "tests.o'clock": Ist sein Modul importiert?"""
        assert reason("rerun", operation) == german


def test_reason__names_the_step_that_is_not_stored(in_status: Callable[..., Operation]) -> None:
    operation = in_status(Status.FAILED)
    command = command_from(7, keep_answers=False, offers_answers=False)
    with override("de"):
        assert reason(command, operation) == (
            "Die Operation hat keinen Schritt 7 gespeichert: Wiederholen Sie sie von Anfang an, "
            "oder ab einem ihrer 0 Schritte."
        )


def test_reason__without_a_translation_stays_as_it_is() -> None:
    with override("de"):
        assert texts.reason(ValueError("Out of paper.")) == "Out of paper."


def sources(names: tuple[str, ...]) -> Iterator[ast.Module]:
    for name in names:
        path = PACKAGE / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            yield ast.parse(file.read_text())


def constants(tree: ast.Module) -> dict[str, str]:
    """The constants of a module that are texts."""
    return {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def sentence(node: ast.expr, known: dict[str, str]) -> str:
    """The text of an expression, with `…` for each value in it; '' for one that code computes."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(
                part.value
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
                else "…"
                for part in parts
            )
        case ast.Name(id=name):
            return known.get(name, "")
    return ""


def calls(tree: ast.Module, positions: dict[str, int]) -> Iterator[str]:
    """The texts that calls of these names pass at these positions."""
    known = constants(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            position = positions.get(name)
            if position is not None and len(node.args) > position:
                text = sentence(node.args[position], known)
                if text.strip("…"):
                    yield text


def raised() -> set[str]:
    """The texts of the errors that leave an operation as it is."""
    refusals = {error.__name__: 0 for error in commands.REFUSALS}
    return {text for tree in sources(CALLED) for text in calls(tree, refusals)}


def stored() -> set[str]:
    """The details of the errors that operations store."""
    trees = list(sources(STORING))
    [failures] = sources(("attempts/failures.py",))
    # A call may choose between an error's own text and a constant.
    sentences = {text for text in constants(failures).values() if text.endswith(".")}
    return sentences | {text for tree in trees for text in calls(tree, MAKERS)}


def is_translated(text: str) -> bool:
    """Whether the German text differs. A value may be that of a status that has an end."""
    for value in ("7", "succeeded"):
        error: Any = ValueError(text.replace("…", value))
        with override("de"):
            if texts.reason(error) != str(error):
                return True
    return False


def test_walks__find_texts() -> None:
    assert "No operation task is called …: is its module imported?" in raised()
    assert "The operation has already …." in raised()
    assert "The operation was canceled." in stored()
    assert "Nobody answered in time." in stored()
    assert "A file of the operation could not be stored or read." in stored()
    assert "A result or an event of the operation could not be stored." in stored()


def test_reasons__of_services_are_translated() -> None:
    missing = [text for text in raised() if not is_translated(text)]
    assert [
        text for text in missing if not any(re.fullmatch(other, text) for other in OTHERS)
    ] == []
    with override("de"):
        assert gettext(NOT_OPEN) != NOT_OPEN


def test_details__of_stored_errors_are_translated() -> None:
    assert [text for text in stored() if not is_translated(text)] == []
