"""System checks: what would lose work, let strangers in, or break silently.

Ids are never reused, nor is E023. E001-E009 Celery, E010-E019 settings, E020-E029 views and URLs,
E037-E038 databases that do not commit, W101-W119 what is correct but slow or fragile, W120-W129
databases and users, W130-W139 what the worker's pool cannot do, W140-W149 what browsers keep from
pages.
"""

from async_reply.checks import browsers, celery, databases, settings, urls, users

__all__ = ["browsers", "celery", "databases", "settings", "urls", "users"]
