"""The short form runs with the suite; FAULTS_FULL=1 adds what takes long."""

import os

FULL = os.environ.get("FAULTS_FULL") == "1"
