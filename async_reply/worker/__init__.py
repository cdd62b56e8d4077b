"""Runs inside each Celery worker beside its jobs: maintenance and receivers of signals."""
