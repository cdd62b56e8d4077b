"""Notifies the processes in which clients wait that an operation has changed."""
