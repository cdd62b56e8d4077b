"""Operators ask the process of a running job for its stack, or tell it to end."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError
from pytest_django import Settings

from async_reply import lifecycle, services
from async_reply.attempts import claims, heartbeats, process_commands, processes
from async_reply.attempts.claims import Claim
from async_reply.exceptions import NotRunning
from async_reply.models import Operation, ProcessCommand
from async_reply.services import process_commands as service
from tests.project.tasks import echo

Name = ProcessCommand.Name


@pytest.fixture
def operation(db: None) -> Operation:
    submitted = services.submit(echo)
    assert lifecycle.claim(submitted, worker="w1")
    return submitted


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The signals that processes would get."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *arguments: sent.append(arguments))
    return sent


@pytest.fixture
def in_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "is_child_of_worker", lambda: True)


def beat(operation: Operation) -> Claim:
    """A claim of the operation as it was claimed, after one beat."""
    claim = Claim(operation, inline=False)
    claims.beat([claim])
    return claim


def test_beat__without_a_command_takes_one_statement(
    operation: Operation, django_assert_num_queries: Any
) -> None:
    claim = Claim(operation, inline=False)
    for _ in range(2):
        with django_assert_num_queries(1):
            claims.beat([claim])


def test_beat__obeys_a_command_once(operation: Operation, django_assert_num_queries: Any) -> None:
    claim = beat(operation)
    assert process_commands.give(operation, Name.SHOW_STACK)
    with django_assert_num_queries(3):  # its row, the command, the answer
        claims.beat([claim])
    with django_assert_num_queries(1):
        claims.beat([claim])
    command = ProcessCommand.objects.get()
    assert command.answered_at is not None
    assert "in test_beat__obeys_a_command_once\n" in command.answer


def test_beat__obeys_again_when_it_failed(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Claim(operation, inline=False)
    claim.progress = (40, "page 4", 0, None)
    process_commands.give(operation, Name.SHOW_STACK)

    def fail(*_: object, **__: object) -> None:
        raise OperationalError("database is locked")

    with monkeypatch.context() as outage:
        outage.setattr(process_commands, "obey", fail)
        with pytest.raises(OperationalError):
            claims.beat([claim])
    assert Operation.objects.get().progress == 40
    claims.beat([claim])
    assert ProcessCommand.objects.get().answered_at is not None


def test_give__to_an_attempt_that_has_ended_changes_nothing(operation: Operation) -> None:
    stale = Operation.objects.get()
    assert lifecycle.release(operation)
    assert lifecycle.claim(Operation.objects.get(), worker="w2")
    for name in Name:
        assert not process_commands.give(stale, name)
    assert (ProcessCommand.objects.count(), Operation.objects.get().commands) == (0, 0)


def test_beat__of_the_next_attempt_does_not_obey(
    operation: Operation, killed: list[Any], in_child: None
) -> None:
    process_commands.give(operation, Name.END)
    assert lifecycle.release(operation)
    following = Operation.objects.get()
    assert lifecycle.claim(following, worker="w2")
    beat(following)
    process_commands.give(following, Name.SHOW_STACK)
    claims.beat([Claim(operation, inline=False), Claim(following, inline=False)])
    assert killed == []


def test_end__kills_a_child_of_a_worker(
    operation: Operation, killed: list[Any], in_child: None
) -> None:
    service.end_process(operation)
    beat(Operation.objects.get())
    assert killed == []  # the command was given before this claim
    beat(operation)
    assert killed == [(os.getpid(), signal.SIGKILL)]


@pytest.mark.parametrize("inline", [False, True])
def test_end__is_refused_by_a_process_that_is_shared(
    operation: Operation, killed: list[Any], inline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "is_child_of_worker", lambda: inline)
    service.end_process(operation)
    claims.beat([Claim(operation, inline=inline)])
    assert killed == []
    assert ProcessCommand.objects.get().answered_at is not None


def test_command__of_the_same_name_takes_the_row_of_the_earlier_one(operation: Operation) -> None:
    for _ in range(2):
        service.show_stack(operation)
        beat(operation)
    service.show_stack(operation)
    command = ProcessCommand.objects.get()
    assert (command.answered_at, command.answer) == (None, "")
    assert Operation.objects.get().commands == 3


@pytest.mark.parametrize("give", [service.end_process, service.show_stack])
def test_command__to_an_operation_that_does_not_run_is_refused(
    operation: Operation, give: Any
) -> None:
    assert lifecycle.release(operation)
    with pytest.raises(NotRunning):
        give(operation)
    with pytest.raises(NotRunning):
        give(Operation.objects.get())
    assert not ProcessCommand.objects.exists()


def test_delete__removes_the_stack(operation: Operation) -> None:
    service.show_stack(operation)
    assert lifecycle.fail(operation, {"code": "tests"})
    services.delete(Operation.objects.get())
    assert not ProcessCommand.objects.exists()


@pytest.fixture
def beating(
    transactional_db: None,
    operation: Operation,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> Iterator[Claim]:
    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.05)
    with heartbeats.kept_alive(operation, inline=False) as claim:
        yield claim


def test_show_stack__returns_the_answer_of_the_heartbeat(
    beating: Claim, operation: Operation
) -> None:
    command = service.show_stack(operation)
    assert "in test_show_stack__returns_the_answer_of_the_heartbeat\n" in command.answer


def test_show_stack__without_an_answer_returns_after_a_while(
    transactional_db: None, operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "ANSWER_SECONDS", 0.05)
    assert service.show_stack(operation).answered_at is None
