"""Measurements that the docs quote, each reprinted by one command."""
