"""Valet keys that were changed, signed with other secrets, kept for too long or passed on."""

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
    """The statuses of a read, a cancel and a delete with `sig`."""
    base = f"/api/operations/{operation.pk}/"
    return [
        client.get(f"{base}?sig={sig}").status_code,
        client.post(f"{base}cancel/?sig={sig}").status_code,
        client.delete(f"{base}?sig={sig}").status_code,
    ]


def test_key__with_a_changed_character_is_refused(caller: Caller, operation: Operation) -> None:
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
def test_key__signed_for_something_else_is_refused(
    caller: Caller, operation: Operation, sign: Callable[[str], str]
) -> None:
    signed = sign(f"{operation.pk}.cancel.9999999999")
    for sig in (signed, signed.partition(".")[2]):
        assert statuses(caller(), operation, sig) == [404] * 3


def test_key__of_a_retired_secret_is_refused(
    caller: Caller, operation: Operation, settings: Settings
) -> None:
    key = valet_keys.make(operation.pk, scope="read", seconds=60)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the next one"
    assert statuses(caller(), operation, key) == [200, 404, 404]
    settings.SECRET_KEY_FALLBACKS = []
    assert statuses(caller(), operation, key) == [404] * 3


def test_key__beside_another_key_is_refused(caller: Caller, operation: Operation) -> None:
    """The server does not try several keys until one is valid."""
    key = valet_keys.make(operation.pk, scope="read", seconds=60)
    other = valet_keys.make(uuid7(), scope="cancel", seconds=60)
    assert statuses(caller(), operation, f"{key}&sig={other}") == [404] * 3


def test_key__of_a_strangers_own_operation_is_refused_for_others(
    caller: Caller, stranger: Any, operation: Operation
) -> None:
    """The stranger is logged in, but only the key counts."""
    own = services.submit(tasks.echo, owner=str(stranger.pk))
    key = valet_keys.make(own.pk, scope="cancel", seconds=60)
    assert statuses(caller(stranger), operation, key) == [404] * 3
    foreign = valet_keys.make(operation.pk, scope="cancel", seconds=60)
    assert statuses(caller(stranger), own, foreign) == [404] * 3


def test_key__used_again_after_a_delete_is_refused(caller: Caller, victim: Any) -> None:
    """The last of the first three requests deletes the operation."""
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
