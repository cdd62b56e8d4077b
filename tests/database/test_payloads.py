import datetime as dt
import decimal
import json
import uuid
from typing import Any

import pytest

from async_reply.database import payloads
from async_reply.exceptions import PayloadError, PayloadTooLarge


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), "\x00", "\ud800", b"x", object(), circular(), nested(100_000)],
    ids=["nan", "inf", "nul", "surrogate", "bytes", "object", "circular", "deep"],
)
def test_to_json__refuses_values_that_databases_refuse(value: Any) -> None:
    with pytest.raises(PayloadError):
        payloads.to_json({"a": value})


def test_to_json__plain_values() -> None:
    day, price = dt.date(2026, 11, 23), decimal.Decimal("9.50")
    value = {"day": day, "price": price, "text": "\\u0000 is text"}
    expected = {"day": "2026-11-23", "price": "9.50", "text": "\\u0000 is text"}
    assert payloads.to_json(value) == expected


def test_to_json__bound_is_in_bytes() -> None:
    assert payloads.to_json("éé", limit=6) == "éé"
    with pytest.raises(PayloadTooLarge):
        payloads.to_json("éé", limit=5)


@pytest.mark.parametrize("backslashes", [1, 2, 3, 4])
def test_to_json__escaped_nul_is_text(backslashes: int) -> None:
    literal = "\\" * backslashes + "u0000"
    assert payloads.to_json({literal: literal}) == {literal: literal}
    with pytest.raises(PayloadError, match="NUL"):
        payloads.to_json("\\" * backslashes + "\x00")


@pytest.mark.parametrize("value", [{"\x00": 1}, {"\udfff": 1}, {(1, 2): 1}, {float("inf"): 1}])
def test_to_json__keys_are_checked_too(value: Any) -> None:
    with pytest.raises(PayloadError):
        payloads.to_json(value)


def test_to_json__depth_is_limited() -> None:
    assert payloads.to_json(nested(payloads.MAX_DEPTH)) == nested(payloads.MAX_DEPTH)
    with pytest.raises(PayloadError, match="31 levels"):
        payloads.to_json(nested(payloads.MAX_DEPTH + 1))


def test_to_json__pair_of_surrogates_is_refused() -> None:
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
def test_clean__escapes_what_databases_refuse(text: object, expected: str) -> None:
    assert payloads.clean(text) == expected
    assert json.loads(json.dumps(payloads.clean(text))) == expected


def test_digest__ignores_the_order_of_keys() -> None:
    assert payloads.digest({"a": 1, "b": 2}) == payloads.digest({"b": 2, "a": 1})
    assert payloads.digest("a", "b") != payloads.digest("ab")


def test_digest__differs_by_type_and_place() -> None:
    parts: list[tuple[Any, ...]] = [(1,), (1.0,), ("1",), (True,), ([1],), (None,), ()]
    assert len({payloads.digest(*values) for values in parts}) == len(parts)
    assert len(payloads.digest("é", "\ud800")) == 64
