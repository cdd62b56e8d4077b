"""Checks that no user inherits the operations of a deleted user."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from async_reply import conf
from async_reply.checks.registry import register
from async_reply.checks.settings import check_settings
from async_reply.services import users

Configs = Sequence[AppConfig] | None


@register
def check_keys(app_configs: Configs, **_kwargs: Any) -> list[CheckMessage]:
    """Primary keys of users, which own operations, are never given twice."""
    model = users.user_model()
    if model is None or check_settings(app_configs) or conf.get("USER_DELETED") != "keep":
        return []
    access = import_string(conf.get("ACCESS"))
    # If the project names owners itself, the owner may be something other than the key.
    is_default = access.get_owner.__module__ == "async_reply.permissions"
    if not is_default or users.are_keys_generated(model):
        return []
    return [
        checks.Warning(
            f"A deleted user's operations stay, but the primary key of {model._meta.label} "
            f"({users.key_of(model).name}) may be given to another user: this user can then see "
            "and cancel them.",
            hint='Set ASYNC_REPLY["USER_DELETED"] = "remove", or override '
            "OperationAccess.get_owner to name users by something that is never given twice.",
            id="async_reply.W126",
        )
    ]
