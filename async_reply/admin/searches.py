"""Searches the list of operations: by id, by the end of an id, by owner, by idempotency key."""

import re
from typing import Any
from uuid import UUID

from django.db.models import CharField, Q, QuerySet
from django.db.models.functions import Cast, Lower
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from async_reply.admin.windows import Window
from async_reply.database import payloads

#: An id ends with 12 digits without a hyphen. The list shows 8 of them.
END_OF_ID = re.compile(r"[0-9a-f]{6,12}")
DIGEST = re.compile(r"[0-9a-f]{64}")
#: The most operations whose ids may have the same end.
MAX_ENDS = 20
#: The newest operations of an owner whose views a search for a key knows.
MAX_VIEW_ROWS = 1_000
#: The action in which REST framework's view sets submit.
CREATE = "create"
HELP = _(
    "An id or the end of one (among the newest 10,000 operations of this list), an owner, or, in "
    "a list filtered by owner, an idempotency key of this owner."
)


def condition(
    queryset: QuerySet[Any], term: str, *, window: Window, owners: list[str], owner: str
) -> Q:
    """Rows that the term means. `owners` has it in their names; `owner` is the list's filter."""
    found = Q(owner__in=[term, *owners])
    pk = _as_id(term)
    if pk is not None:
        found |= Q(pk=pk)
    if END_OF_ID.fullmatch(term.lower()):
        found |= Q(pk__in=_ending(window.narrow(queryset), term.lower()))
    digests = [term.lower()] if DIGEST.fullmatch(term.lower()) else []
    if owner:
        digests += _digests(window.narrow(queryset), owner, term)
    return found | Q(idempotency_digest__in=digests) if digests else found


def _ending(queryset: QuerySet[Any], end: str) -> list[UUID]:
    text = Lower(Cast("pk", CharField(max_length=36)))
    rows = queryset.order_by("-pk").alias(id_text=text).filter(id_text__endswith=end)
    return list(rows.values_list("pk", flat=True)[:MAX_ENDS])


def _digests(queryset: QuerySet[Any], owner: str, key: str) -> list[str]:
    """The digests of this owner's key, for the views to which the owner has submitted lately."""
    views = queryset.order_by("-pk").values_list("view", flat=True)[:MAX_VIEW_ROWS]
    scopes = [scope for view in sorted(set(views) - {""}) for scope in _scopes(view)]
    return [payloads.digest(owner, scope, key) for scope in scopes]


def _scopes(view: str) -> list[str]:
    """The names within which a key counts, by `get_idempotency_scope`: the view and its actions."""
    try:
        actions = [action.__name__ for action in import_string(view).get_extra_actions()]
    except (ImportError, AttributeError):
        actions = []
    return [view, *(f"{view}.{action}" for action in [CREATE, *actions])]


def _as_id(term: str) -> UUID | None:
    try:
        return UUID(term)
    except ValueError:
        return None
