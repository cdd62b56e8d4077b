"""The demo's settings with webhooks, for `python -m benchmarks.webhooks`."""

from demo_project.settings import *  # noqa: F403
from demo_project.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "async_reply.contrib.webhooks"]
