"""The directive `settings`: an entry for each setting of `async_reply.conf`, with an anchor."""

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from async_reply import conf
from docs._ext import defaults


class Settings(SphinxDirective):
    """Writes all settings in the order of the module."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(conf.__file__)
        self.content = StringList(defaults.as_entries(), source=conf.__file__)
        return self.parse_content_to_nodes()


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("settings", Settings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
