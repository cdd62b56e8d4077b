"""Configures Sphinx: `make docs` builds the site of these pages into build/docs."""

import os
import sys
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
# The pages of modules import the package, and models need settings.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
django.setup()

from async_reply import __version__  # noqa: E402

project = "django-async-reply"
author = "The async_reply developers"
project_copyright = author
release = __version__

extensions = ["sphinx.ext.autodoc", "docs._ext.links", "docs._ext.settings"]
exclude_patterns = ["_ext"]
# Docstrings are written for readers of the code: single backticks are code.
default_role = "code"
nitpicky = True
# Types of other projects: their sites are not asked, so that a build needs no network.
nitpick_ignore_regex = [("py:.*", ".*")]

autodoc_member_order = "bysource"
# Django adds these to each model.
autodoc_default_options = {"exclude-members": "DoesNotExist, MultipleObjectsReturned, check"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"{project} {release}"
# The pages need no source beside them: the repository has it.
html_copy_source = False
