"""The settings of async_reply: one dict, `ASYNC_REPLY`, which is read at each use."""

from typing import Any, NamedTuple

from django.conf import settings

from async_reply.setting_values import (
    BYTES,
    PATH,
    PATH_OR_NONE,
    SECONDS,
    SECONDS_OR_NONE,
    WAIT,
    Values,
    are_hosts,
    are_networks,
    are_private_keys,
    are_schemes,
    is_base_url,
    is_count,
    is_notify,
    is_proxy,
    is_rate_or_none,
    is_text,
)


class Setting(NamedTuple):
    """One key of `ASYNC_REPLY`."""

    default: Any
    values: Values
    meaning: str


SETTINGS: dict[str, Setting] = {
    "ACCESS": Setting(
        "async_reply.permissions.OperationAccess",
        PATH,
        "Dotted path of the OperationAccess class: who may see which operations.",
    ),
    "AROUND_JOB": Setting(
        None,
        PATH_OR_NONE,
        "Dotted path of a function that takes the job's handle and returns a context manager. The "
        "job runs inside it, and so do its functions of on_finish, on_failure and on_cancel, for "
        "example in the schema of a tenant. None: nothing is around a job.",
    ),
    "URL_NAMESPACE": Setting(
        "async_reply",
        Values("the name of a URL namespace", is_text),
        "Instance namespace under which the project's URLconf includes async_reply.urls.",
    ),
    "LEASE": Setting(
        None,
        SECONDS_OR_NONE,
        "Seconds for which a worker holds an operation between two heartbeats. None: 20, and 60 "
        "on SQLite, where a write may wait for another transaction.",
    ),
    "REPUBLISH_AFTER": Setting(
        10, SECONDS, "Seconds after which a message that no worker has claimed may count as lost."
    ),
    "BATCH": Setting(
        200,
        Values("a whole number above 0", lambda value: is_count(value) and value > 0),
        "Rows that relay, rescue and purge take in one turn.",
    ),
    "PUBLISH_TIMEOUT": Setting(
        1.0,
        SECONDS,
        "Seconds for which a submit waits for the broker at most. The relay publishes later what "
        "the submit could not.",
    ),
    "BREAKER": Setting(
        3.0,
        SECONDS,
        "Seconds for which submits leave publishing to the relay after the broker failed.",
    ),
    "RETENTION": Setting(
        7 * 24 * 3600, SECONDS, "Seconds for which a finished operation and its result are kept."
    ),
    "USER_DELETED": Setting(
        "keep",
        Values('"keep" or "remove"', lambda value: value in ("keep", "remove")),
        'The operations of a deleted user: "keep", or "remove" (canceled, then '
        'purged). With "keep" signed links stay valid until they expire, and a later user who '
        "gets the same primary key owns the operations.",
    ),
    "TOMBSTONE": Setting(
        7 * 24 * 3600,
        SECONDS,
        "Seconds after its expiry for which an operation's id answers 410 and its idempotency "
        "key is remembered.",
    ),
    "MAX_WAIT": Setting(
        55,
        WAIT,
        'Seconds for which "Prefer: wait" holds a request at most; 0 turns waiting off. Many '
        "proxies end a request after 60.",
    ),
    "DEFAULT_WAIT": Setting(
        0,
        WAIT,
        "Seconds for which a submit waits for its result although its client did not ask to, "
        'within MAX_WAIT and as with "Prefer: wait". A client\'s own wait or respond-async wins.',
    ),
    "WAIT_THREADS": Setting(
        2,
        Values("a whole number, 0 for no waiting", is_count),
        "Threads of a process for clients that wait. 0: no client waits, under WSGI and ASGI "
        "alike. Under WSGI each thread holds one client, if the server has threads for other "
        "requests; of several threads one caller never has all. Under ASGI waiting needs no "
        "thread: so many requests of one caller that are about to wait are inside Django at a "
        "time, and one more of others.",
    ),
    "NOTIFY": Setting(
        None,
        Values('None, "postgresql" or a redis:// URL', is_notify),
        "How waiting clients learn of a change. None: the database is asked twenty times a second. "
        '"postgresql": by LISTEN and NOTIFY. The URL of a Redis: by its publish and subscribe.',
    ),
    "MAX_INPUT": Setting(
        1024 * 1024, BYTES, "Bytes of an operation's JSON input. Files do not count."
    ),
    "MAX_RESULT": Setting(
        1024 * 1024, BYTES, "Bytes of an operation's JSON result. A larger one belongs into a file."
    ),
    "MAX_EVENTS": Setting(
        1024 * 1024,
        BYTES,
        "Bytes of an operation's log. The oldest lines go when it is longer. Emitted events stay, "
        "and the job fails when these alone are longer.",
    ),
    "MAX_UNFINISHED": Setting(
        1000,
        Values("a whole number, 0 for no bound", is_count),
        "Unfinished operations that an owner may have when submitting over HTTP, also with many "
        "requests at once. Callers without an owner share this number for each view. 0: no bound.",
    ),
    "POLL_RATE": Setting(
        None,
        Values('a rate above 0 by s, m, h or d, such as "600/min", or None', is_rate_or_none),
        'Polls that an owner may make, in REST framework\'s notation ("600/min"). None: no bound.',
    ),
    "VALET_KEY": Setting(
        24 * 3600,
        SECONDS,
        "Seconds for which a valet key in a signed link is valid, and never longer than its "
        "operation exists.",
    ),
    "PROBLEM_TYPE_PREFIX": Setting(
        "urn:problem-type:async-reply/",
        Values("a URI to which a name can be appended", is_text),
        "The start of the `type` of our problem documents (RFC 9457, section 3.1.1).",
    ),
    "STORAGE": Setting(
        "default",
        Values("an alias in STORAGES", is_text),
        "Alias in STORAGES for the files of operations. Choose a storage that no web server "
        "publishes.",
    ),
    "SIGNED_URL": Setting(
        None,
        PATH_OR_NONE,
        "Dotted path of a function that makes a storage's own signed URL of a file. File results "
        'then redirect to it ("async_reply.contrib.s3.signed_url"). None: they are streamed.',
    ),
    "REDIRECT_STATUS": Setting(
        302,
        Values("302 or 303", lambda value: value in (302, 303)),
        "HTTP status of the redirect from a finished operation to its result.",
    ),
    "REDIRECT_HOSTS": Setting(
        (),
        Values(
            'a list of hosts such as "files.example.org" or "api:8443", without scheme or slash',
            are_hosts,
        ),
        "Hosts that a job may redirect its client to, each exactly and with its port.",
    ),
    "WEBHOOK_URL": Setting(
        None,
        Values("an absolute URL, or None", lambda value: value is None or is_base_url(value)),
        "Scheme and host of the links in webhooks, and the prefix of a site that has one, such as "
        '"https://example.org". None: those of the request that registered the receiver.',
    ),
    "WEBHOOK_KEYS": Setting(
        (),
        Values("a list of private keys, as Standard Webhooks writes them", are_private_keys),
        "The site's ed25519 keys. Each webhook has a signature by each of them, beside that of "
        "its receiver's own secret. Two of them for a while: a rotation.",
    ),
    "WEBHOOK_QUEUE": Setting(
        None,
        Values("the name of a queue, or None", lambda value: value is None or is_text(value)),
        "Celery's queue for the deliveries of webhooks. None: the default queue.",
    ),
    "WEBHOOK_NETWORKS": Setting(
        (),
        Values('a list of networks such as "10.1.2.0/24"', are_networks),
        "Networks that webhooks may be sent to although they are not public.",
    ),
    "WEBHOOK_SCHEMES": Setting(
        ("https",),
        Values('a list of "https" and "http"', are_schemes),
        'Schemes of the URLs that webhooks may be sent to. "http" is for tests: anybody on the way '
        "reads the messages.",
    ),
    "WEBHOOK_PROXY": Setting(
        None,
        Values("the URL of an HTTP proxy, or None", lambda value: value is None or is_proxy(value)),
        'HTTP proxy that webhooks go through, such as "http://user:password@proxy:3128". It looks '
        "the names up, so it has to refuse addresses of your network: only a URL's own text, with "
        "a literal address in it, is checked here. None: no proxy, whatever HTTPS_PROXY says.",
    ),
    "WEBHOOK_RETRY": Setting(
        24 * 3600, SECONDS, "Seconds for which an event is sent again to a receiver that fails."
    ),
    "WEBHOOK_LEDGER": Setting(
        30 * 24 * 3600,
        SECONDS,
        "Seconds after its last try for which a delivery is kept, and can be replayed.",
    ),
}

#: Key -> default: `get` is called often, and looks up no more than it needs.
DEFAULTS: dict[str, Any] = {key: setting.default for key, setting in SETTINGS.items()}


def get(key: str) -> Any:
    """The project's value of `key`, or its default; KeyError for a key that does not exist."""
    return configured().get(key, DEFAULTS[key])


def configured() -> Any:
    """The project's `ASYNC_REPLY`: a dict, once the checks have passed."""
    return getattr(settings, "ASYNC_REPLY", {})
