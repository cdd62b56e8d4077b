"""The demo's settings with the three APIs; DATABASE_URL and CELERY_BROKER_URL name the servers."""

import os

from demo_project.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.rivals.urls"
DEBUG = False
SECRET_KEY = "only-for-the-benchmark" * 3
ALLOWED_HOSTS = ["127.0.0.1"]
CELERY_IMPORTS = ["benchmarks.rivals.naive", "benchmarks.rivals.limit", "benchmarks.rivals.ours"]
# Tasks of each API have a queue, and so a worker, of their own.
CELERY_TASK_ROUTES = {
    "naive.*": {"queue": "rivals-naive"},
    "limit.*": {"queue": "rivals-limit"},
    "ours.*": {"queue": "rivals-ours"},
    # No worker takes its sleeps, so they stay pending.
    "demo.*": {"queue": "rivals-public"},
}
# Celery's default closes the database connection after each task.
CELERY_DB_REUSE_MAX = int(os.environ.get("RIVALS_DB_REUSE_MAX") or 0)
