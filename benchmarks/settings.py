"""The demo on a database of the benchmark's own; nobody waits so briefly that it matters."""

import os

from demo_project.settings import *  # noqa: F403
from demo_project.settings import ASYNC_REPLY as DEMO
from demo_project.settings import DATABASES

ASYNC_REPLY = {**DEMO, "NOTIFY": os.environ.get("NOTIFY") or None, "MAX_WAIT": 900}
# Under ASGI each request has a thread, and a connection must not outlive it.
DATABASES["default"]["CONN_MAX_AGE"] = 0
