"""The runbook has each fault of the suite, and quotes lines, metrics and codes that exist."""

import ast
import re
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree

import async_reply
from async_reply.attempts.reports import Ending, Report
from async_reply.protocol import problems
from tests.packaging.documents import HOW_TO, blocks
from tests.packaging.environments import ROOT

PAGE = HOW_TO / "runbook.rst"
PACKAGE = Path(async_reply.__file__).parent
LEVELS = {"debug", "info", "warning", "error", "exception"}
#: Names that begin like those of metrics.
COMMANDS = {"async_reply_status", "async_reply_maintain"}


def calls(*methods: str) -> list[ast.Call]:
    """The calls of these methods of the logger, in the whole package."""
    return [
        node
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in methods
        and ast.unparse(node.func.value) == "logger"
    ]


def words(call: ast.Call, position: int = 0) -> set[str]:
    """The texts in one argument of a call, by default the first one."""
    parts = ast.walk(call.args[position])
    values = [node.value for node in parts if isinstance(node, ast.Constant)]
    return {value for value in values if isinstance(value, str) and value}


def templates() -> set[str]:
    """The texts of all log lines, with `…` for what differs."""
    texts = [words(call) for call in calls(*LEVELS)] + [words(call, 1) for call in calls("log")]
    return {word.replace("%s", "…") for word in set().union(*texts)}


def events() -> set[str]:
    endings = {Report(ending, delay=delay).event for ending in Ending for delay in (None, 1.0)}
    return endings | {word for call in calls("event") for word in words(call)}


@pytest.mark.parametrize(
    "line", [line for block in blocks(PAGE, "text") for line in block.split("\n") if line]
)
def test_line__is_written_by_the_code(line: str) -> None:
    event = re.fullmatch(r"Operation id=… kind=…(?: status=…)? (\w+)(?: publishes=2)? …", line)
    if event is not None:
        assert event[1] in events()
        return
    quoted = line.removesuffix("…")
    assert [text for text in templates() if text == line or text.startswith(quoted)], line


def test_faults__have_an_entry_each() -> None:
    table = (ROOT / "docs/faults.rst").read_text()
    source = (ROOT / "tests/faults/injector.py").read_text()
    faults = set(re.findall(r'^\s+(?:kinds\[)?"([a-z ]+)"\]?(?::| =) self\.', source, re.MULTILINE))
    entries = re.findall(r"^\*Fault:\* (.+?)\.(?:\s|$)", PAGE.read_text(), re.MULTILINE)
    named = set(re.findall(r"``([a-z ]+)``", " ".join(entries)))
    assert (named, len(faults) > 10) == (faults, True)
    assert [fault for fault in faults if f"   * - {fault}\n" not in table] == []


def test_metrics_and_codes__exist() -> None:
    tree = publish_doctree(PAGE.read_text(), str(PAGE))
    literals = {node.astext() for node in tree.findall(nodes.literal)}
    source = (PACKAGE / "contrib/prometheus.py").read_text()
    metrics = {name for name in literals if name.startswith("async_reply_")} - COMMANDS
    assert len(metrics) > 3
    assert [
        name
        for name in metrics
        if name.removeprefix("async_reply_").removesuffix("_total") not in source
    ] == []
    [table] = tree.findall(nodes.table)
    codes = {next(iter(row.findall(nodes.entry))).astext() for row in table.findall(nodes.row)}
    assert codes - {"Code", "internal-error"} <= set(problems.TITLES)
