import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import async_reply
from async_reply.status import (
    ACTIVE,
    CANCELABLE,
    DELETABLE,
    FINAL,
    TRANSITIONS,
    UNFINISHED,
    Status,
)

PACKAGE = Path(async_reply.__file__).parent


def test_sets__derive_from_the_transitions() -> None:
    assert set(Status) == FINAL | UNFINISHED
    assert {Status.SUCCEEDED, Status.FAILED, Status.CANCELED} == FINAL
    assert {Status.PENDING, Status.RUNNING, Status.CANCELING} == UNFINISHED
    assert {Status.RUNNING, Status.CANCELING} == ACTIVE
    assert {Status.PENDING, Status.RUNNING} == CANCELABLE
    assert {Status.SUCCEEDED, Status.FAILED} == DELETABLE


def test_transitions__lead_from_every_status() -> None:
    assert set(TRANSITIONS) == set(Status)
    assert all(TRANSITIONS[status] for status in UNFINISHED)


def status_lists(tree: ast.AST) -> Iterator[int]:
    """Lines with a set, list or tuple that names more than one status."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Set | ast.List | ast.Tuple):
            statuses = [element for element in node.elts if is_status(element)]
            if len(statuses) > 1:
                yield node.lineno


def is_status(node: ast.expr) -> bool:
    if isinstance(node, ast.Attribute):
        return ast.unparse(node.value).rpartition(".")[2] == "Status"
    return isinstance(node, ast.Constant) and node.value in Status.values


def test_source__only_status_lists_statuses() -> None:
    # The client knows the words of other servers too, and needs no Django.
    others = {"migrations", "client"}
    modules = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if others.isdisjoint(path.parts) and any(status_lists(ast.parse(path.read_text())))
    }
    assert modules == {"status.py"}


@pytest.mark.parametrize(
    "source",
    [
        "frozenset({Status.FAILED, Status.CANCELED})",
        "status in (Status.PENDING, Status.RUNNING)",
        "['pending', 'running']",
        "[models.Status.PENDING, 'running']",
    ],
)
def test_source__a_list_of_statuses_is_seen(source: str) -> None:
    assert list(status_lists(ast.parse(source))) == [1]


@pytest.mark.parametrize("source", ["[Status.PENDING]", "status is Status.PENDING", "('due',)"])
def test_source__other_code_is_no_list_of_statuses(source: str) -> None:
    assert list(status_lists(ast.parse(source))) == []
