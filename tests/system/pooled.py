"""Settings of the demo with psycopg's pool. Each process has TESTS_POOL connections."""

import os
from typing import Any, cast

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

_default = cast(dict[str, Any], DATABASES["default"])
_default["CONN_MAX_AGE"] = 0
_default["OPTIONS"] = {"pool": {"min_size": 1, "max_size": int(os.environ["TESTS_POOL"])}}
# With 0 Celery returns a job's connection to the pool at the end of the job.
CELERY_DB_REUSE_MAX = 0
