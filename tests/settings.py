"""The demo's settings for the suite: a quick password hasher, and the views of tests/project."""

from demo_project.settings import *  # noqa: F403
from demo_project.settings import INSTALLED_APPS

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
