"""The demo's settings for the tests of clients: CORS, views in their dialects, a journal."""

from importlib.util import find_spec

from async_reply.cors import ALLOWED
from demo_project.settings import *  # noqa: F403
from demo_project.settings import INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = [*INSTALLED_APPS, "tests.clients"]
MIDDLEWARE = ["tests.clients.journal.Middleware", *MIDDLEWARE]
ROOT_URLCONF = "tests.clients.urls"

if find_spec("corsheaders") is not None:
    from corsheaders.defaults import default_headers

    MIDDLEWARE = ["corsheaders.middleware.CorsMiddleware", *MIDDLEWARE]
    # All ports of this machine. A real project lists its origins.
    CORS_ALLOWED_ORIGIN_REGEXES = [r"^http://localhost:\d+$"]
    CORS_ALLOW_HEADERS = [*default_headers, *ALLOWED]
