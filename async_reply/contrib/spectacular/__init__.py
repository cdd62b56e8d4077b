"""Describes submit views and operations' views to drf-spectacular, for the OpenAPI schema.

Needs the extra `spectacular`. Import this package in the URLconf: drf-spectacular then finds its
classes by itself. `submits` describes an action that submits.
"""

from async_reply.contrib.spectacular import operations
from async_reply.contrib.spectacular.submits import submits

__all__ = ["operations", "submits"]
