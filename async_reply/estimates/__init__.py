"""Estimates when a client should poll next, and how long its operation will still take.

The two functions here are pure: they need neither Django nor a database.
"""

from async_reply.estimates.plans import eta, retry_after

__all__ = ["eta", "retry_after"]
