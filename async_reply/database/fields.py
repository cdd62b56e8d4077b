"""Text columns that compare each character exactly, on MariaDB too."""

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper


class Exact:
    """Sets a binary collation on MariaDB, whose default collations take 'Ada' and 'ada ' as equal.

    One owner would then see another's operations. The collation also sets the character set of
    the column. It is no `db_collation`: one migration serves all databases, and the others do not
    have this collation.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters: dict[str, Any] = super().db_parameters(connection)  # type: ignore[misc]
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_nopad_bin"
        return parameters


if TYPE_CHECKING:
    # The mypy plugin for Django knows the types of Django's own fields only.
    ExactCharField = models.CharField
    ExactFileField = models.FileField
    ExactTextField = models.TextField
else:

    class ExactCharField(Exact, models.CharField):
        pass

    class ExactFileField(Exact, models.FileField):
        pass

    class ExactTextField(Exact, models.TextField):
        pass
