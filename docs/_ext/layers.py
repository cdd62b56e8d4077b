"""Draws docs/images/layers.svg from the import contract in setup.cfg.

python -m docs._ext.layers
"""

from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs/images/layers.svg"

WIDTH, MARGIN = 880, 16
BOX_HEIGHT, GAP = 30, 8
LETTER_WIDTH, PADDING = 8, 24


def layers() -> list[list[str]]:
    """The modules of each layer, the highest first."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["importlinter:contract:layers"]["layers"].split("\n")
    return [[name.strip() for name in line.split("|")] for line in lines if line.strip()]


def svg() -> str:
    """The picture: a row for each layer, a box for each module."""
    rows = layers()
    height = 2 * MARGIN + len(rows) * (BOX_HEIGHT + GAP) - GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="monospace" font-size="13">'
    )
    title = "<title>The layers of async_reply. Modules import from the rows below.</title>"
    ground = f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>'
    boxes = [box for number, names in enumerate(rows) for box in _boxes(number, names)]
    return "\n".join([head, title, ground, *boxes, "</svg>", ""])


def _boxes(number: int, names: list[str]) -> Iterator[str]:
    """The boxes of one layer, in the middle of its row."""
    widths = [len(name) * LETTER_WIDTH + PADDING for name in names]
    left = (WIDTH - sum(widths) - GAP * (len(widths) - 1)) // 2
    top = MARGIN + number * (BOX_HEIGHT + GAP)
    for name, width in zip(names, widths, strict=True):
        yield (
            f'<rect x="{left}" y="{top}" width="{width}" height="{BOX_HEIGHT}" rx="5" '
            'fill="#eef3f8" stroke="#44648a"/>'
        )
        yield (
            f'<text x="{left + width // 2}" y="{top + BOX_HEIGHT // 2 + 5}" '
            f'text-anchor="middle" fill="#1c2b3a">{escape(name)}</text>'
        )
        left += width + GAP


if __name__ == "__main__":
    PICTURE.write_text(svg())
