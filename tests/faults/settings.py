"""The demo's settings, with kinds, views and mutants of the fault suite.

Environment, beside the demo's: FAULTS_JOURNAL, the file that jobs write to; FAULTS_MUTANT, the
rule to break (see `project.mutants`).
"""

import os

from demo_project.settings import *  # noqa: F403
from demo_project.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults.project"]
ROOT_URLCONF = "tests.faults.project.urls"
if os.environ.get("DATABASE_URL"):
    # A server that hangs must not be waited for longer than a client has patience.
    DATABASES["default"].setdefault("OPTIONS", {})["connect_timeout"] = 3
