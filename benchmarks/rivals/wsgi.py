from django.core.wsgi import get_wsgi_application

from benchmarks.rivals.app import app

__all__ = ["app", "application"]

application = get_wsgi_application()
