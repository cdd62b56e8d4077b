"""System checks: find mistakes that would lose work, let strangers in, or break silently.

An id is never used again; E023 was used once. E001-E009 Celery, E010-E019 settings, E020-E029 views
and URLs, E037-E038 databases that do not commit, E039-E040 Celery's routes, W101-W119 slow or
fragile settings, W120-W129 databases and users, W130-W139 shortcomings of the worker's pool,
W140-W149 browsers, E041 and W150-W159 webhooks.
"""
