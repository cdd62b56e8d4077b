"""The page about proxies: its limits fit those of the package, and its test has its settings."""

import re
from typing import Any

from async_reply import conf
from tests.packaging.documents import HOW_TO, blocks, snippets

PAGE = HOW_TO / "behind-a-proxy.rst"


def test_proxy__waits_for_longer_than_a_client_may_wait() -> None:
    [configuration] = blocks(PAGE, "nginx")
    [seconds] = re.findall(r"proxy_read_timeout (\d+)s;", configuration)
    assert int(seconds) > conf.DEFAULTS["MAX_WAIT"]


def test_proxy__sets_each_header_that_the_settings_trust() -> None:
    names: dict[str, Any] = {}
    files = dict(snippets(PAGE))
    exec(files["project/settings.py"], names)
    [configuration] = blocks(PAGE, "nginx")
    header, _ = names["SECURE_PROXY_SSL_HEADER"]
    name = header.removeprefix("HTTP_").replace("_", "-").title()
    sent = set(re.findall(r"proxy_set_header (\S+) ", configuration))
    assert (names["USE_X_FORWARDED_HOST"], {name, "X-Forwarded-Host"} <= sent) == (True, True)
    written = [f"{key}=" for key in names if key.isupper()]
    assert [key for key in written if key not in files["reports/tests.py"]] == []


def test_proxy__does_not_collect_the_events_of_a_stream() -> None:
    [configuration] = blocks(PAGE, "nginx")
    [location] = re.findall(r"location ~ (\S+) \{\s+proxy_buffering off;", configuration)
    assert re.search(location, "/api/operations/0192f0c1-2b3c-7000-8000-000000000000/events/")
    assert not re.search(location, "/api/operations/")
