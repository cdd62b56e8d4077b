"""The settings of async_reply: one dict, `ASYNC_REPLY`, read at each use."""

import re
from collections.abc import Callable
from typing import Any

from django.conf import settings

Check = Callable[[Any], bool]


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _positive_or_none(value: Any) -> bool:
    return value is None or _positive(value)


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _text_or_none(value: Any) -> bool:
    return value is None or _text(value)


def _rate_or_none(value: Any) -> bool:
    """As REST framework reads it: of the period, the first letter counts."""
    if not isinstance(value, str):
        return value is None
    return re.fullmatch(r"0*[1-9][0-9]*/[smhd][^/]*", value) is not None


def _hosts(value: Any) -> bool:
    """They are compared to the letter: neither a URL nor a pattern would match."""
    if isinstance(value, str):
        return False
    return all(
        isinstance(each, str) and re.fullmatch(r"[^.\s/*][^\s/*]*", each) is not None
        for each in value
    )


def _notify(value: Any) -> bool:
    schemes = ("redis://", "rediss://", "unix://")
    return value in (None, "postgresql") or (isinstance(value, str) and value.startswith(schemes))


# -- reference
DEFAULTS: dict[str, Any] = {
    # Dotted path of the OperationAccess class: who may see which operations.
    "ACCESS": "async_reply.permissions.OperationAccess",
    # Instance namespace under which the project's URLconf includes async_reply.urls.
    "URL_NAMESPACE": "async_reply",
    # Seconds for which a worker holds an operation between two heartbeats.
    # None: 20, and 60 on SQLite, where a writer may wait for another's transaction.
    "LEASE": None,
    # Seconds after which a message nobody claimed may count as lost.
    "REPUBLISH_AFTER": 10,
    # Rows that relay, rescue and purge take in one go.
    "BATCH": 200,
    # Seconds a submit waits for the broker at most; the relay publishes what this left behind.
    "PUBLISH_TIMEOUT": 1.0,
    # Seconds for which submits leave publishing to the relay after the broker failed.
    "BREAKER": 3.0,
    # Seconds a finished operation and its result are kept.
    "RETENTION": 7 * 24 * 3600,
    # What becomes of a deleted user's operations: "keep", or "remove" (canceled, then purged). With
    # "keep" signed links stay good until they expire, and a later user who gets the same primary
    # key owns the operations.
    "USER_DELETED": "keep",
    # Seconds more for which its id answers 410 and its idempotency key is remembered.
    "TOMBSTONE": 7 * 24 * 3600,
    # Seconds for which "Prefer: wait" holds a request at most; 0 turns waiting off. Proxies give
    # up after 60.
    "MAX_WAIT": 55,
    # Threads of a process for clients that wait; 0: no client waits, under WSGI and ASGI alike.
    # Under WSGI each thread holds one client, if the server has threads for other requests; of
    # several threads one caller never has all. Under ASGI no thread waits. There the number limits
    # how many requests of one caller that are about to wait are inside Django at a time; one more
    # thread is left for other callers.
    "WAIT_THREADS": 2,
    # What wakes those who wait: None, the database is asked ten times a second; "postgresql", by
    # LISTEN and NOTIFY; or the URL of a Redis, for its publish and subscribe.
    "NOTIFY": None,
    # Bytes of an operation's JSON input; uploads are files and are not counted.
    "MAX_INPUT": 1024 * 1024,
    # Bytes of an operation's JSON result; larger ones belong into a file.
    "MAX_RESULT": 1024 * 1024,
    # Unfinished operations an owner may have when submitting over HTTP, however many do at once;
    # callers without an owner share as many for each view. 0: no bound.
    "MAX_UNFINISHED": 1000,
    # Polls an owner may make, in REST framework's notation ("600/min"); None: no bound.
    "POLL_RATE": None,
    # Seconds for which a valet key in a signed link is good, and never longer than its operation.
    "VALET_KEY": 24 * 3600,
    # What the `type` of our problem documents starts with (RFC 9457, section 3.1.1).
    "PROBLEM_TYPE_PREFIX": "urn:problem-type:async-reply/",
    # Alias in STORAGES where files of operations live. Choose one that no web server publishes.
    "STORAGE": "default",
    # Dotted path of a function that makes a storage's own signed URL of a file, to which file
    # results then redirect ("async_reply.contrib.s3.signed_url"). None: they are streamed.
    "SIGNED_URL": None,
    # Hosts a job may redirect its client to, to the letter and with their port.
    "REDIRECT_HOSTS": (),
}
# -- end

VALID: dict[str, tuple[Check, str]] = {
    "ACCESS": (_text, "a dotted path"),
    "URL_NAMESPACE": (_text, "the name of a URL namespace"),
    "LEASE": (_positive_or_none, "a number of seconds above 0, or None"),
    "REPUBLISH_AFTER": (_positive, "a number of seconds above 0"),
    "BATCH": (lambda value: _count(value) and value > 0, "a whole number above 0"),
    "PUBLISH_TIMEOUT": (_positive, "a number of seconds above 0"),
    "BREAKER": (_positive, "a number of seconds above 0"),
    "RETENTION": (_positive, "a number of seconds above 0"),
    "USER_DELETED": (lambda value: value in ("keep", "remove"), '"keep" or "remove"'),
    "TOMBSTONE": (_positive, "a number of seconds above 0"),
    "MAX_WAIT": (_count, "a whole number of seconds, 0 for no waiting"),
    "WAIT_THREADS": (_count, "a whole number"),
    "NOTIFY": (_notify, 'None, "postgresql" or a redis:// URL'),
    "MAX_INPUT": (_count, "a whole number of bytes"),
    "MAX_RESULT": (_count, "a whole number of bytes"),
    "MAX_UNFINISHED": (_count, "a whole number, 0 for no bound"),
    "POLL_RATE": (_rate_or_none, 'a rate above 0 by s, m, h or d, such as "600/min", or None'),
    "VALET_KEY": (_positive, "a number of seconds above 0"),
    "PROBLEM_TYPE_PREFIX": (_text, "a URI to which a name can be appended"),
    "STORAGE": (_text, "an alias in STORAGES"),
    "SIGNED_URL": (_text_or_none, "a dotted path, or None"),
    "REDIRECT_HOSTS": (
        _hosts,
        'a list of hosts such as "files.example.org" or "api:8443", without scheme or slash',
    ),
}


def get(key: str) -> Any:
    """The project's value of `key`, or its default; KeyError for a key that does not exist."""
    return configured().get(key, DEFAULTS[key])


def configured() -> Any:
    """What the project wrote into `ASYNC_REPLY`: a dict, once the checks have passed."""
    return getattr(settings, "ASYNC_REPLY", {})
