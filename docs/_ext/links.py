"""Makes links to `page.rst` links to that page of the site.

Pages link to each other's files, so that a code host can follow the links as well. The README and
the changelog lie outside of the pages' folder, and pages of the site include them.
"""

import posixpath
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

#: File outside of the folder -> the page that includes it.
INCLUDED = {"../README.rst": "readme", "../CHANGELOG.rst": "changelog"}


def resolve(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Replace the file in each link of a page. A file that is missing is a warning."""
    for link in tree.findall(nodes.reference):
        file, mark, anchor = str(link.get("refuri", "")).partition("#")
        if ":" in file or not file.endswith(".rst"):
            continue
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), file))
        target = INCLUDED.get(path, path.removesuffix(".rst"))
        if target not in app.env.found_docs:
            logger.warning("there is no page %s", file, location=link)
            continue
        link["refuri"] = app.builder.get_relative_uri(page, target) + mark + anchor
        link["internal"] = True


def place(app: Sphinx, path: Path, page: str, content: list[str]) -> None:
    """In an included file, write links and pictures as seen from the pages' folder."""
    content[:] = [re.sub(r"(<|:: )docs/", r"\1", text) for text in content]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("include-read", place)
    app.connect("doctree-resolved", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
