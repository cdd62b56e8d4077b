"""Settings of a project whose passwords take long to check, like those of bcrypt or LDAP."""

import time

from django.contrib.auth.hashers import MD5PasswordHasher

from tests.settings import *  # noqa: F403
from tests.settings import MIDDLEWARE, REST_FRAMEWORK

PAUSE_SECONDS = 0.5


class SlowHasher(MD5PasswordHasher):
    algorithm = "slow"

    def encode(self, password: str, salt: str) -> str:
        time.sleep(PAUSE_SECONDS)
        return super().encode(password, salt)


PASSWORD_HASHERS = ["tests.hostile.slow.SlowHasher"]
MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *MIDDLEWARE]
REST_FRAMEWORK = {
    **REST_FRAMEWORK,
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.BasicAuthentication",
        *REST_FRAMEWORK["DEFAULT_AUTHENTICATION_CLASSES"],
    ],
}
LOGGING = {"version": 1, "disable_existing_loggers": False}
