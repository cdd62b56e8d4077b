"""Lets clients wait for the end of an operation, or read its events, without polling."""
