"""A small Django project that shows async_reply at work."""

# The import makes this app Celery's current app, for all tasks of the project.
from demo_project.celery import app as celery_app

__all__ = ["celery_app"]
