"""Copies the first steps of an operation for its rerun, which then goes on behind them."""

from collections.abc import Iterator

from django.db import models

from async_reply.exceptions import NoSuchStep, OperationGone
from async_reply.files import store
from async_reply.models import Operation, OperationFile, OperationStep

#: Rows that one INSERT has: a row has up to a MiB.
ROWS_AT_ONCE = 50
#: The columns of a step that its copy does not have.
OWN_COLUMNS = frozenset({"id", "operation", "attempt", "file"})


class CopiedSteps:
    """The steps before `from_step`: a name, or a number from 1 to one more than there are.

    They end before the first question. A person answered the other operation, so the rerun asks
    again. With `keep_answers` they end before the first question that has no answer.
    """

    def __init__(
        self, operation: Operation, *, from_step: str | int, keep_answers: bool = False
    ) -> None:
        self._operation = operation
        first = _ordinal(operation, from_step)
        questions = OperationStep.of(operation).filter(sort=OperationStep.Sort.QUESTION)
        if keep_answers:
            questions = questions.filter(value="")
        asked = questions.filter(ordinal__lt=first).values_list("ordinal", flat=True).first()
        self.count = (asked or first) - 1
        #: Copies of the steps' files in the storage.
        self.files: list[OperationFile] = []
        self._file_of: dict[int, OperationFile] = {}

    @property
    def are_all(self) -> bool:
        """Whether the rerun goes on behind the last step: there its cursors and state fit."""
        return self.count == self._operation.steps

    def copy_files(self, again: Operation) -> None:
        """Copy the bytes in the storage; raises StorageFailed."""
        for step in self._steps().select_related("file").defer("value"):
            if step.file is not None:
                self._file_of[step.ordinal] = self._copy_file(step.file, again)

    def _copy_file(self, file: OperationFile, again: Operation) -> OperationFile:
        with store.opened_for_reading(file) as content:
            copy = store.save(
                again,
                content,
                role=OperationFile.Role.STEP,
                name=file.name,
                content_type=file.content_type,
            )
        self.files.append(copy)
        return copy

    def insert(self, again: Operation) -> None:
        """Insert the rows, in the transaction of the caller.

        Raises OperationGone if the content was deleted in the meantime.
        """
        for file in self.files:
            # The row keeps its number after a rollback. Another row may have it by now.
            file.pk = None
            file.save(force_insert=True)
        inserted = 0
        for rows in self._portions(again):
            OperationStep.objects.bulk_create(rows)
            inserted += len(rows)
        if inserted != self.count:
            raise OperationGone("The operation's steps were removed: rerun it from its start.")

    def _portions(self, again: Operation) -> Iterator[list[OperationStep]]:
        for first in range(1, self.count + 1, ROWS_AT_ONCE):
            last = min(first + ROWS_AT_ONCE - 1, self.count)
            steps = self._steps().filter(ordinal__gte=first, ordinal__lte=last)
            yield [self._copy(step, again) for step in steps]

    def _copy(self, step: OperationStep, again: Operation) -> OperationStep:
        """A row of no attempt: 0 says that none of this operation has run the step."""
        fields = [field for field in step._meta.concrete_fields if field.name not in OWN_COLUMNS]
        columns = {field.name: getattr(step, field.name) for field in fields}
        file = self._file_of.get(step.ordinal)
        return OperationStep(operation_id=again.pk, attempt=0, file=file, **columns)

    def _steps(self) -> "models.QuerySet[OperationStep]":
        return OperationStep.of(self._operation).filter(ordinal__lte=self.count)


def _ordinal(operation: Operation, from_step: str | int) -> int:
    """The number of the first step that runs again; raises NoSuchStep."""
    if isinstance(from_step, str):
        named = OperationStep.of(operation).filter(name=from_step)
        ordinal = named.values_list("ordinal", flat=True).first()
    else:
        ordinal = from_step if 1 <= from_step <= operation.steps + 1 else None
    if ordinal is None:
        raise NoSuchStep(
            f"The operation has stored no step {from_step!r}: rerun it from its start, or from one "
            f"of its {operation.steps} steps."
        )
    return int(ordinal)
