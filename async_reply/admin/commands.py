"""What the admin can do with operations: the services, their permissions and their words."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import Error, connections
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from async_reply import services
from async_reply.database import alias, errors
from async_reply.exceptions import (
    AlreadyFinished,
    NotCancelable,
    NotFinished,
    OperationGone,
    UnknownKind,
)
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.services import cancellation
from async_reply.status import CANCELABLE, FINAL

REFUSALS = (AlreadyFinished, NotCancelable, NotFinished, OperationGone, UnknownKind)


@dataclass(frozen=True)
class Command:
    """A service that takes one operation."""

    name: str
    label: Any
    #: The codename of the permission, of the app `async_reply`.
    permission: str
    perform: Callable[[Operation], object]
    #: Whether the button is worth showing; the service has the last word.
    is_offered: Callable[[Operation], bool]
    #: "%d operations were …"
    done: Any
    confirm: bool = False


@dataclass
class Tally:
    """What became of each operation: those done, with what the service returned; why not."""

    done: list[tuple[Operation, object]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)


def run(command: Command, operations: Iterable[Operation | None]) -> Tally:
    """Do it to each of `operations`; None stands for one that is no longer there."""
    tally = Tally()
    for operation in operations:
        if operation is None:
            tally.refused[str(_("The operation no longer exists."))] += 1
            continue
        try:
            tally.done.append((operation, command.perform(operation)))
        except REFUSALS as error:
            tally.refused[str(error)] += 1
        except Error as error:
            if connections[alias()].in_atomic_block or not errors.is_temporary(error):
                raise
            logger.warning("Operation id=%s kind=%s: %s", operation.pk, operation.kind, error)
            tally.refused[str(_("The database cannot be reached: try again."))] += 1
        except OSError:
            # A rerun copies the files of the request.
            logger.exception("Operation id=%s kind=%s files", operation.pk, operation.kind)
            tally.refused[str(_("The storage did not give a file: see the log."))] += 1
    return tally


def _delete(operation: Operation) -> None:
    if operation.deleted_at is not None:
        raise OperationGone("The operation's content was removed before.")
    services.delete(operation)


def _may_be_rerun(operation: Operation) -> bool:
    return operation.status in FINAL and not operation.is_gone


def _may_be_deleted(operation: Operation) -> bool:
    return operation.status in FINAL and operation.deleted_at is None


def _may_be_canceled(operation: Operation) -> bool:
    if operation.status not in CANCELABLE:
        return False
    return not cancellation.has_begun(operation) or cancellation.is_cancelable(operation)


CANCEL = Command(
    name="cancel",
    label=_("Cancel"),
    permission="cancel_operation",
    perform=services.cancel,
    is_offered=_may_be_canceled,
    done=ngettext_lazy(
        "%d operation was canceled or asked to stop.",
        "%d operations were canceled or asked to stop.",
    ),
)
RERUN = Command(
    name="rerun",
    label=_("Rerun"),
    permission="rerun_operation",
    perform=services.rerun,
    is_offered=_may_be_rerun,
    done=ngettext_lazy(
        "%d operation was submitted again, as a new one.",
        "%d operations were submitted again, as new ones.",
    ),
)
DELETE = Command(
    name="delete",
    label=_("Delete"),
    permission="delete_operation",
    perform=_delete,
    is_offered=_may_be_deleted,
    done=ngettext_lazy(
        "The content of %d operation was removed.", "The content of %d operations was removed."
    ),
    confirm=True,
)

COMMANDS = {command.name: command for command in (CANCEL, RERUN, DELETE)}
