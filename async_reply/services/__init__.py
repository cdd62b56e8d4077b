"""Submits, cancels, reruns and deletes operations, with or without HTTP."""

from async_reply.services.cancellation import cancel
from async_reply.services.intake import Submitted, accept, submit
from async_reply.services.reruns import rerun
from async_reply.services.retention import delete

__all__ = ["Submitted", "accept", "cancel", "delete", "rerun", "submit"]
