"""Reads what the documentation tells its reader to type."""

import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tests.packaging.environments import ROOT

README = ROOT / "README.rst"
TUTORIAL = ROOT / "docs" / "tutorial.rst"
HOW_TO = ROOT / "docs" / "how-to"

BLOCK = re.compile(r"^\.\. code-block:: ([\w-]+)\n\n((?:    .*\n|\n)+)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A code block of a page, without its indentation."""

    language: str
    text: str

    @property
    def path(self) -> str:
        """The file that the first line names, without what that line says about it."""
        return self.text.partition("\n")[0].removeprefix("# ").partition(":")[0]


def all_blocks(document: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    return [
        Block(language, textwrap.dedent(text).strip() + "\n")
        for language, text in BLOCK.findall(document.read_text())
    ]


def blocks(document: Path, language: str) -> list[str]:
    """The code blocks of a page in one language, in order."""
    return [block.text for block in all_blocks(document) if block.language == language]


def snippets(document: Path) -> list[tuple[str, str]]:
    """File and content of each Python block, whose first line names the file."""
    return [
        (block.path, block.text) for block in all_blocks(document) if block.language == "python"
    ]


def words(block: str) -> list[list[str]]:
    """The commands of a console block, as words; a backslash continues a line."""
    lines = block.replace("\\\n", " ").splitlines()
    return [shlex.split(line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]


def commands(document: Path) -> list[list[str]]:
    """The commands of a page, as words."""
    return [command for block in blocks(document, "console") for command in words(block)]
