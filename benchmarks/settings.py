"""The demo's settings for `python -m benchmarks.waiting`: a long MAX_WAIT, and NOTIFY by variable.

NOTIFY is the name or the URL of the way of notifying, CONN_MAX_AGE the setting of Django. MAX_WAIT
is longer than the measurement.
"""

import os

from demo_project.settings import *  # noqa: F403
from demo_project.settings import ASYNC_REPLY as DEMO
from demo_project.settings import DATABASES

# With DEBUG Django keeps the text of every statement.
DEBUG = False
SECRET_KEY = "only-for-the-benchmark" * 3
ASYNC_REPLY = {**DEMO, "NOTIFY": os.environ.get("NOTIFY") or None, "MAX_WAIT": 900}
# Under ASGI each request has a thread. Its connection must end with the thread.
DATABASES["default"]["CONN_MAX_AGE"] = int(os.environ.get("CONN_MAX_AGE", "0"))
