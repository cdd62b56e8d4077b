from typing import Any

import pytest

from async_reply import conf
from async_reply.permissions import PollThrottle


@pytest.mark.parametrize("key", conf.SETTINGS)
def test_settings__each_default_passes_its_check(key: str) -> None:
    setting = conf.SETTINGS[key]
    assert setting.values.include(setting.default)
    assert conf.get(key) == setting.default or key in conf.configured()
    assert setting.values.include(conf.get(key))


@pytest.mark.parametrize("key", conf.SETTINGS)
def test_settings__each_has_words(key: str) -> None:
    setting = conf.SETTINGS[key]
    assert setting.values.words
    assert setting.meaning[0].isupper()
    assert setting.meaning.endswith(".")


@pytest.mark.parametrize("key", conf.SETTINGS)
@pytest.mark.parametrize("value", [-1, "", True, object()])
def test_settings__refuse_wrong_values(key: str, value: Any) -> None:
    assert not conf.SETTINGS[key].values.include(value)


def test_get__unknown_key_is_an_error() -> None:
    with pytest.raises(KeyError):
        conf.get("LEASES")


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (None, True),
        ("600/min", True),
        ("1/s", True),
        ("5/hour", True),
        ("10/day", True),
        ("600", False),
        ("ten/min", False),
        ("5/fortnight", False),
        ("5/", False),
        ("5/min/day", False),
        ("-5/min", False),
        # It would refuse every poll.
        ("0/min", False),
        ("\u0665/min", False),
        (600, False),
    ],
)
def test_poll_rate(rate: Any, expected: bool) -> None:
    assert conf.SETTINGS["POLL_RATE"].values.include(rate) is expected
    if expected:
        PollThrottle().parse_rate(rate)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("files.example.org", True),
        ("api:8443", True),
        ("[::1]:8000", True),
        ("https://a.example/", False),
        ("https://a.example", False),
        ("a.example/", False),
        ("//a.example", False),
        ("*.example.org", False),
        (".example.org", False),
        ("a.example b.example", False),
    ],
)
def test_redirect_hosts(host: str, expected: bool) -> None:
    assert conf.SETTINGS["REDIRECT_HOSTS"].values.include([host]) is expected
