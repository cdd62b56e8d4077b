"""Keys that were taken apart, put together anew, kept for too long or handed on."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.signing import Signer, TimestampSigner, dumps
from pytest_django import Settings
from rest_framework.test import APIClient

from async_reply import services
from async_reply.database.identifiers import uuid7
from async_reply.models import Operation
from async_reply.protocol import valet_keys
from tests.hostile.conftest import Caller
from tests.hostile.situations import everything, finished, running
from tests.project import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def operation(victim: Any) -> Operation:
    return running(str(victim.pk))


def statuses(client: APIClient, operation: Operation, sig: str) -> list[int]:
    """Of a read, a cancel and a delete by the holder of `sig`."""
    base = f"/api/operations/{operation.pk}/"
    return [
        client.get(f"{base}?sig={sig}").status_code,
        client.post(f"{base}cancel/?sig={sig}").status_code,
        client.delete(f"{base}?sig={sig}").status_code,
    ]


def test_key__with_any_character_changed_opens_nothing(
    caller: Caller, operation: Operation
) -> None:
    client, before = caller(), everything()
    key = valet_keys.make(operation.pk, scope="cancel", seconds=60)
    for position, character in enumerate(key):
        for other in {"A", "0", "."} - {character}:
            changed = key[:position] + other + key[position + 1 :]
            assert client.get(f"/api/operations/{operation.pk}/?sig={changed}").status_code == 404
    for cut in (key[:-1], key[1:], key + "A", key.upper(), key + ".", f" {key}", key + "%0a"):
        assert statuses(client, operation, cut) == [404] * 3, cut
    assert everything() == before


@pytest.mark.parametrize(
    "sign",
    [
        lambda text: Signer(sep=".").sign(text),
        lambda text: Signer(salt="django.contrib.sessions", sep=".").sign(text),
        lambda text: Signer(key="guessed", salt="async_reply.valet_keys", sep=".").sign(text),
        lambda text: TimestampSigner(salt="async_reply.valet_keys", sep=":").sign(text),
        lambda text: dumps(text, salt="async_reply.valet_keys"),
    ],
)
def test_key__signed_for_something_else_opens_nothing(
    caller: Caller, operation: Operation, sign: Callable[[str], str]
) -> None:
    made = sign(f"{operation.pk}.cancel.9999999999")
    for sig in (made, made.partition(".")[2]):
        assert statuses(caller(), operation, sig) == [404] * 3


def test_key__of_a_retired_secret_opens_nothing(
    caller: Caller, operation: Operation, settings: Settings
) -> None:
    key = valet_keys.make(operation.pk, scope="read", seconds=60)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the next one"
    assert statuses(caller(), operation, key) == [200, 404, 404]
    settings.SECRET_KEY_FALLBACKS = []
    assert statuses(caller(), operation, key) == [404] * 3


def test_key__given_twice_counts_once(caller: Caller, operation: Operation) -> None:
    """A good one beside a bad one is not tried until one fits."""
    key = valet_keys.make(operation.pk, scope="read", seconds=60)
    other = valet_keys.make(uuid7(), scope="cancel", seconds=60)
    assert statuses(caller(), operation, f"{key}&sig={other}") == [404] * 3


def test_key__of_a_stranger_s_own_operation_lends_no_right(
    caller: Caller, stranger: Any, operation: Operation
) -> None:
    """With credentials of its own as well: the key alone decides."""
    mine = services.submit(tasks.echo, owner=str(stranger.pk))
    key = valet_keys.make(mine.pk, scope="cancel", seconds=60)
    assert statuses(caller(stranger), operation, key) == [404] * 3
    bad = valet_keys.make(operation.pk, scope="cancel", seconds=60)
    assert statuses(caller(stranger), mine, bad) == [404] * 3


def test_key__used_again_after_the_end_reads_and_removes_no_more(
    caller: Caller, victim: Any
) -> None:
    """To cancel is the most a key allows: a replay of it must not remove the result twice."""
    operation = finished(str(victim.pk))
    key = valet_keys.make(operation.pk, scope="cancel", seconds=60)
    assert statuses(caller(), operation, key) == [302, 409, 204]
    before = everything()
    assert statuses(caller(), operation, key) == [404] * 3
    assert everything() == before


def test_key__is_in_no_line_of_our_log(
    caller: Caller, operation: Operation, caplog: pytest.LogCaptureFixture
) -> None:
    key = valet_keys.make(operation.pk, scope="cancel", seconds=60)
    statuses(caller(), operation, key)
    statuses(caller(), operation, f"{key}x")
    signature = key.rpartition(".")[2]
    assert not [record for record in caplog.records if signature in record.getMessage()]
    assert signature not in str(everything())
