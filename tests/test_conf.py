from typing import Any

import pytest

from async_reply import conf
from async_reply.permissions import PollThrottle


def test_valid__speaks_of_every_key() -> None:
    assert conf.VALID.keys() == conf.DEFAULTS.keys()


@pytest.mark.parametrize("key", conf.DEFAULTS)
def test_defaults__pass_their_checks(key: str) -> None:
    check, text = conf.VALID[key]
    assert check(conf.get(key))
    assert check(conf.DEFAULTS[key])
    assert text


@pytest.mark.parametrize("key", conf.DEFAULTS)
@pytest.mark.parametrize("value", [-1, "", True, object()])
def test_valid__refuses_what_makes_no_sense(key: str, value: Any) -> None:
    check = conf.VALID[key][0]
    try:
        assert not check(value)
    except TypeError:
        assert key == "REDIRECT_HOSTS"


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
    assert conf.VALID["POLL_RATE"][0](rate) is expected
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
    assert conf.VALID["REDIRECT_HOSTS"][0]([host]) is expected
