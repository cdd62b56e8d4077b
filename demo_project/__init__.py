# Imported with the project, so that tasks find this app and not Celery's default one.
from demo_project.celery import app as celery_app

__all__ = ["celery_app"]
