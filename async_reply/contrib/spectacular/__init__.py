"""Describes submit views, views of operations and those of webhooks, for the OpenAPI schema.

Needs the extra `spectacular`. Import this package in the URLconf: drf-spectacular then finds its
classes by itself. `submits` describes an action that submits.
"""

from django.apps import apps
from django.core.exceptions import AppRegistryNotReady, ImproperlyConfigured

try:
    from async_reply.contrib.spectacular import operations
    from async_reply.contrib.spectacular.submits import submits
except AppRegistryNotReady as error:
    raise ImproperlyConfigured(
        "async_reply.contrib.spectacular is no app: remove it from INSTALLED_APPS, and import it "
        "in your URLconf."
    ) from error

__all__ = ["operations", "submits"]

if apps.is_installed("async_reply.contrib.webhooks"):
    # Without the app, its tables and so its views cannot be imported.
    from async_reply.contrib.spectacular import webhooks

    __all__ += ["webhooks"]
