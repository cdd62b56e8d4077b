"""Sends the messages of operations to the broker, and sends lost messages again."""
