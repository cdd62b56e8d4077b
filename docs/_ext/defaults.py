"""The settings of the package as text, for the site and for the reference."""

import ast
import textwrap
from pathlib import Path

from async_reply import conf


def as_written() -> dict[str, str]:
    """Setting -> its default as the source has it: 7 * 24 * 3600, not 604800."""
    source = Path(conf.__file__).read_text()
    rows = next(
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign)
        and ast.unparse(node.target) == "SETTINGS"
        and isinstance(node.value, ast.Dict)
    )
    return {
        ast.literal_eval(key): str(ast.get_source_segment(source, row.args[0]))
        for key, row in zip(rows.keys, rows.values, strict=True)
        if key is not None and isinstance(row, ast.Call)
    }


def as_code() -> str:
    """All settings as one dict, with comments."""
    defaults = as_written()
    lines = ["ASYNC_REPLY = {"]
    for key, setting in conf.SETTINGS.items():
        lines += textwrap.wrap(
            setting.meaning, 96, initial_indent="    # ", subsequent_indent="    # "
        )
        lines.append(f'    "{key}": {defaults[key]},')
    return "\n".join([*lines, "}"])


def as_entries() -> list[str]:
    """All settings as lines of reStructuredText: Sphinx's `confval` for each."""
    defaults = as_written()
    lines: list[str] = []
    for key, setting in conf.SETTINGS.items():
        lines += [f".. confval:: {key}"]
        lines += [f"   :type: {setting.values.words}", f"   :default: ``{defaults[key]}``", ""]
        lines += [f"   {setting.meaning}", ""]
    return lines
