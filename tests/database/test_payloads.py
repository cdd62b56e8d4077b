"""What is found before a database sees it; the plain cases are in test_values."""

import json
import uuid
from typing import Any

import pytest

from async_reply.database import payloads
from async_reply.exceptions import PayloadError


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize("backslashes", [1, 2, 3, 4])
def test_to_json__nul_is_not_its_escaped_spelling(backslashes: int) -> None:
    literal = "\\" * backslashes + "u0000"
    assert payloads.to_json({literal: literal}) == {literal: literal}
    with pytest.raises(PayloadError, match="NUL"):
        payloads.to_json("\\" * backslashes + "\x00")


@pytest.mark.parametrize("value", [{"\x00": 1}, {"\udfff": 1}, {(1, 2): 1}, {float("inf"): 1}])
def test_to_json__keys_are_looked_at_too(value: Any) -> None:
    with pytest.raises(PayloadError):
        payloads.to_json(value)


def test_to_json__depth_is_what_every_database_takes() -> None:
    assert payloads.to_json(nested(payloads.MAX_DEPTH)) == nested(payloads.MAX_DEPTH)
    with pytest.raises(PayloadError, match="31 levels"):
        payloads.to_json(nested(payloads.MAX_DEPTH + 1))


def test_to_json__pair_of_surrogates_is_no_character() -> None:
    assert payloads.to_json("😀") == "😀"
    with pytest.raises(PayloadError, match="surrogate"):
        payloads.to_json("\ud83d\ude00")


def test_to_json__uuid_is_text() -> None:
    value = uuid.uuid4()
    assert payloads.to_json({"id": value}) == {"id": str(value)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é 😀", "plain é 😀"),
        ("a\x00b", r"a\x00b"),
        ("a\ud800b", r"a\ud800b"),
        (ValueError("no"), "no"),
    ],
)
def test_clean__any_database_takes_it(text: object, expected: str) -> None:
    assert payloads.clean(text) == expected
    assert json.loads(json.dumps(payloads.clean(text))) == expected


def test_digest__tells_types_and_places_apart() -> None:
    parts: list[tuple[Any, ...]] = [(1,), (1.0,), ("1",), (True,), ([1],), (None,), ()]
    assert len({payloads.digest(*each) for each in parts}) == len(parts)
    assert len(payloads.digest("é", "\ud800")) == 64
