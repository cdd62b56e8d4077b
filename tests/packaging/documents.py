"""Reads the commands and the files that README and tutorial tell their reader to type."""

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
    return [textwrap.dedent(text).strip() + "\n" for text in block.findall(document.read_text())]


def snippets(document: Path) -> list[tuple[str, str]]:
    """The file name and the content of each Python block. The first line names the file."""
    return [
        (block.partition("\n")[0].removeprefix("# "), block) for block in blocks(document, "python")
    ]


def commands(document: Path) -> list[list[str]]:
    """The commands of a page, each as a list of words."""
    lines = "".join(blocks(document, "console")).splitlines()
    return [shlex.split(line.removeprefix("$ ")) for line in lines]
