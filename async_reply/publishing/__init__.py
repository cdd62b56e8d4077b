"""Sends operations to the broker, and again where a message was lost."""
