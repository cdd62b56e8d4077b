"""Facts about the project's user model, for checks, permissions and deleted users."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import models


def user_model() -> type[models.Model] | None:
    """The model that AUTH_USER_MODEL names; None if no installed app has it."""
    try:
        return apps.get_model(settings.AUTH_USER_MODEL)
    except (LookupError, ValueError):
        return None


def proxies(model: type[models.Model]) -> list[type[models.Model]]:
    """The model and its proxies. Django sends signals with the class that the caller used."""
    concrete = model._meta.concrete_model
    return [other for other in apps.get_models() if other._meta.concrete_model is concrete]


def key_of(model: type[models.Model]) -> "models.Field[Any, Any]":
    """The primary key; of a model that inherits its table's key, the parent's."""
    key = model._meta.pk
    while key.remote_field is not None:
        key = key.remote_field.model._meta.pk
    return key


def are_keys_generated(model: type[models.Model]) -> bool:
    """Whether the database or Python generates keys: no user gets the key of a former one."""
    key = key_of(model)
    return (
        isinstance(key, models.AutoField | models.UUIDField)
        or (key.has_default() and callable(key.default))
        or key.db_default is not models.NOT_PROVIDED
    )
