"""Translates the reasons for which a command leaves an operation as it is.

Services raise them in English, as clients get them. The catalog has those that operators see most.
"""

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

CANCELED = _("The operation has already been canceled.")
DELETED = _("The content was already deleted: nothing is left to do.")
TEXTS = (
    CANCELED,
    DELETED,
    _("The operation has already succeeded."),
    _("The operation has already failed."),
    _("This operation has begun and cannot be canceled."),
    _("Only a finished operation can be rerun: cancel it first, or wait."),
    _("Only a finished operation can be deleted: cancel it first, or wait."),
    _("The operation's input was removed: submit the request again."),
    _("The operation's steps were removed: rerun it from its start."),
    _("No attempt of this operation runs: its process has nothing to obey."),
)


def translated(error: Exception) -> str:
    """The text of the error in the language of the operator, if it is one of `TEXTS`."""
    text = str(error)
    return gettext(text) if text in TEXTS else text
