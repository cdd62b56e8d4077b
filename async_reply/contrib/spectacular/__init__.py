"""Describes submit views, views of operations and those of webhooks, for the OpenAPI schema.

Needs the extra `spectacular`. Import this package in the URLconf: drf-spectacular then finds its
classes by itself. `submits` describes an action that submits.
"""

from django.apps import apps

from async_reply.contrib.spectacular import operations
from async_reply.contrib.spectacular.submits import submits

__all__ = ["operations", "submits"]

if apps.is_installed("async_reply.contrib.webhooks"):
    # Without the app, its tables and so its views cannot be imported.
    from async_reply.contrib.spectacular import webhooks

    __all__ += ["webhooks"]
