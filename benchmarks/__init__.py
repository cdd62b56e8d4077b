"""Measurements that the docs quote. One command prints each of them again.

- `admin`: the cost of each page for operators, as the table grows.
- `laws`: the laws of durations that the estimator is tried on.
- `layers`: the modules and calls that one request crosses.
- `polling`: the cost of polling, for each law and strategy.
- `progress`: the cost of a job's calls of `progress()` and `track()`.
- `queues`: polls while jobs wait in a queue.
- `schedules`: the cost of a polling schedule, and the best schedule for a law.
- `settings`: the demo's settings for `waiting`.
- `waiting`: the cost of thousands of clients that wait on one server.
"""
