"""Columns whose values are compared to the letter, on MariaDB too."""

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper


class Exact:
    """MariaDB's default collations take 'Ada', 'ada' and 'ada ' for one.

    One owner would then see another's operations. The collation brings its character set along,
    whatever the database was made with. Not `db_collation`: a migration for all databases cannot
    name one of MariaDB's.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters: dict[str, Any] = super().db_parameters(connection)  # type: ignore[misc]
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_nopad_bin"
        return parameters


if TYPE_CHECKING:
    # The plugin infers what may be None from the fields it knows.
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
