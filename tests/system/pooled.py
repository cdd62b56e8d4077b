"""The demo with psycopg's pool of connections, of TESTS_POOL connections a process."""

import os
from typing import Any, cast

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

_default = cast(dict[str, Any], DATABASES["default"])
_default["CONN_MAX_AGE"] = 0
_default["OPTIONS"] = {"pool": {"min_size": 1, "max_size": int(os.environ["TESTS_POOL"])}}
# Celery gives a job's connection back when the job has ended.
CELERY_DB_REUSE_MAX = 0
