"""Header fields have one spelling each: the constant in `async_reply.protocol.headers`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import async_reply
from async_reply.protocol import headers

PACKAGE = Path(async_reply.__file__).parent
MODULES = sorted(
    [
        PACKAGE / "documents.py",
        PACKAGE / "responses.py",
        *(PACKAGE / "views").glob("*.py"),
        *(PACKAGE / "contrib").glob("**/*.py"),
        *(PACKAGE / "waiting").glob("*.py"),
    ]
)
NAMES = {
    value
    for name, value in vars(headers).items()
    if isinstance(value, str) and value.upper().replace("-", "_") == name
}


def header_literals(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and node.value in NAMES:
            yield f"line {node.lineno}: {node.value}"


def test_names__are_the_values_of_the_constants() -> None:
    assert {"Retry-After", "ETag", "Idempotency-Key", "X-Accel-Buffering"} <= NAMES
    assert list(header_literals('response["Retry-After"] = "5"')) == ["line 1: Retry-After"]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module__has_no_literal_of_a_header(module: Path) -> None:
    assert list(header_literals(module.read_text())) == []
