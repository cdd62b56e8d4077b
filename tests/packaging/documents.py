"""What README and tutorial tell their reader to type."""

import re
import shlex
import textwrap
from pathlib import Path

from tests.packaging.environments import ROOT

README = ROOT / "README.rst"
TUTORIAL = ROOT / "docs" / "tutorial.rst"


def blocks(document: Path, language: str) -> list[str]:
    """The code blocks of a page, in order."""
    block = re.compile(rf"^\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)", re.MULTILINE)
    return [textwrap.dedent(each).strip() + "\n" for each in block.findall(document.read_text())]


def snippets(document: Path) -> list[tuple[str, str]]:
    """File and content of each Python block, whose first line names the file."""
    found = blocks(document, "python")
    return [(block.partition("\n")[0].removeprefix("# "), block) for block in found]


def commands(document: Path) -> list[list[str]]:
    """The lines that start with a prompt, as words."""
    lines = "".join(blocks(document, "console")).splitlines()
    return [shlex.split(line.removeprefix("$ ")) for line in lines]
