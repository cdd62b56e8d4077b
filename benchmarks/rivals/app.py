"""The Celery application of the benchmark's workers."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.rivals.settings")

app = Celery("rivals")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
