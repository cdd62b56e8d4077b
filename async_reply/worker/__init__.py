"""What runs inside each Celery worker beside its jobs."""
