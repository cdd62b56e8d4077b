"""Shared by the tests of the admin: URLs, clients, and operations in each status."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from async_reply import lifecycle, services
from async_reply.models import Operation
from async_reply.status import Status
from async_reply.tasks import get_task
from tests.project.tasks import echo

LIST = "/admin/async_reply/operation/"


def page(operation: Operation) -> str:
    """The URL of an operation's page."""
    return reverse("admin:async_reply_operation_change", args=[operation.pk])


def button(operation: Operation, name: str) -> str:
    """The URL to which a button of an operation's page posts."""
    return reverse("admin:async_reply_operation_action", args=[operation.pk, name])


def shown(response: Any) -> list[Operation]:
    """The operations that a list shows."""
    return list(response.context["cl"].result_list)


def messages(response: Any) -> list[str]:
    """The messages on the page after an action."""
    return [str(message) for message in response.context["messages"]]


@pytest.fixture
def staff_client(django_user_model: Any) -> Callable[..., Client]:
    """Makes a client of a staff member who has only these permissions on this app."""

    def make(*codenames: str) -> Client:
        staff = django_user_model.objects.create_user("grace", is_staff=True)
        permissions = Permission.objects.filter(
            content_type__app_label="async_reply", codename__in=codenames
        )
        assert len(codenames) == len(permissions)
        staff.user_permissions.set(permissions)
        client = Client()
        client.force_login(staff)
        return client

    return make


@pytest.fixture
def submit(db: None) -> Callable[..., Operation]:
    """Stores an operation that belongs to ada."""

    def make(task: Any = echo, *, owner: str = "ada", **input: Any) -> Operation:
        return services.submit(task, input=input, owner=owner)

    return make


@pytest.fixture
def in_status(submit: Callable[..., Operation]) -> Callable[..., Operation]:
    """Makes an operation that has reached a status."""

    def make(status: Status, **input: Any) -> Operation:
        operation = submit(**input)
        match status:
            case Status.CANCELED:
                services.cancel(operation)
            case Status.SUCCEEDED:
                get_task(operation.kind).perform(operation.pk, worker="w1", inline=True)
            case Status.FAILED:
                assert lifecycle.claim(operation, worker="w1")
                assert lifecycle.fail(operation, {"code": "tests"})
            case Status.RUNNING | Status.CANCELING:
                assert lifecycle.claim(operation, worker="w1")
                if status == Status.CANCELING:
                    services.cancel(operation)
        operation.refresh_from_db()
        assert status == operation.status
        return operation

    return make
