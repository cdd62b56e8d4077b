"""Translates English texts of services and of stored errors for operators.

Services raise reasons in English, as clients get them. A failed operation keeps its error as its
client reads it, in English. Texts of projects are shown as they are.
"""

import re

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

CANCELED = _("The operation has already been canceled.")
DELETED = _("The content was already deleted: nothing is left to do.")
TEXTS = frozenset(
    {
        # The reasons for which a service leaves an operation as it is.
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
        _("The operation was rerun in the meantime: its page shows the new one."),
        # The details of errors that operations store.
        _("The operation failed because of an internal error."),
        _("The operation was canceled."),
        _("The operation exceeded its time limit."),
        _("The operation exceeded the time limit of all its attempts together."),
        _("A result or an event of the operation could not be stored."),
        _("A file of the operation could not be stored or read."),
        _("The worker was lost each time it ran the operation."),
        _("No worker knows this kind of operation."),
        _("Nobody answered in time."),
        _("Give the command again, in the list of operations."),
    }
)
#: Reasons that name something of the operation.
TEMPLATES = (
    _("No operation task is called %(kind)s: is its module imported?"),
    _(
        "The operation has stored no step %(step)s: rerun it from its start, or from one of its "
        "%(count)s steps."
    ),
)


def translated(text: str) -> str:
    """The text in the language of the operator, if it is one of `TEXTS`."""
    return gettext(text) if text in TEXTS else text


def reason(error: Exception) -> str:
    """The text of a service's error in the language of the operator."""
    text = str(error)
    for template in TEMPLATES:
        pattern = re.sub(r"%\\\((\w+)\\\)s", r"(?P<\1>.+)", re.escape(template))
        match = re.fullmatch(pattern, text)
        if match:
            return gettext(template) % match.groupdict()
    return translated(text)
