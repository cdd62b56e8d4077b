"""The demo as an ASGI application, whose clients can wait without a thread."""

import gc
import os

from django.core.asgi import get_asgi_application

from async_reply.asgi import waiting

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")

application = waiting(get_asgi_application())
# Else a full collection of all that the imports made stops the process for a tenth of a second.
gc.freeze()
