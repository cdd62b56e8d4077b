"""The demo's settings, with the jobs, views and mutants of the fault suite.

Further variables: FAULTS_JOURNAL is the file that jobs write to. FAULTS_MUTANT is the name of the
rule to break (see `project.mutants`).
"""

import os

from demo_project.settings import *  # noqa: F403
from demo_project.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults.project"]
ROOT_URLCONF = "tests.faults.project.urls"
if os.environ.get("DATABASE_URL"):
    # A connection to a frozen server must fail before the client's timeout.
    DATABASES["default"].setdefault("OPTIONS", {})["connect_timeout"] = 3
