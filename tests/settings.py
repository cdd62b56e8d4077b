"""The demo's settings for the suite: a quick password hasher, and the views of tests/project."""

from typing import Any

from demo_project.settings import *  # noqa: F403
from demo_project.settings import INSTALLED_APPS
from demo_project.settings import LOGGING as DEMO_LOGGING

INSTALLED_APPS = [*INSTALLED_APPS, "async_reply.contrib.webhooks", "tests.project"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ROOT_URLCONF = "tests.project.urls"
# Django 6.0 and newer have it.
TASKS = {
    "default": {
        "BACKEND": "async_reply.contrib.django_tasks.OperationBackend",
        "QUEUES": ["default", "reports"],
        "OPTIONS": {"max_retries": 1, "autoretry_for": [ConnectionError]},
    }
}
_DEMO: dict[str, Any] = DEMO_LOGGING
LOGGING = {
    **_DEMO,
    "handlers": {
        **_DEMO["handlers"],
        "operation": {"class": "async_reply.logs.OperationLogHandler"},
    },
    "loggers": {
        **_DEMO["loggers"],
        "tests.project": {"handlers": ["operation"], "level": "INFO"},
    },
}
