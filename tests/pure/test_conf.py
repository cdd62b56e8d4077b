from typing import Any

import pytest

from async_reply import conf


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
