"""The project's model of users: Django's, one of its own, or none."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import models


def user_model() -> type[models.Model] | None:
    """The model that AUTH_USER_MODEL names; None where no installed app has it."""
    try:
        return apps.get_model(settings.AUTH_USER_MODEL)
    except (LookupError, ValueError):
        return None


def proxies(model: type[models.Model]) -> list[type[models.Model]]:
    """The model and its proxies: a row deleted by one of them is announced by that one alone."""
    concrete = model._meta.concrete_model
    return [each for each in apps.get_models() if each._meta.concrete_model is concrete]


def key_of(model: type[models.Model]) -> "models.Field[Any, Any]":
    """The primary key, which a child in the database shares with its parent."""
    key = model._meta.pk
    while key.remote_field is not None:
        key = key.remote_field.model._meta.pk
    return key


def are_keys_generated(model: type[models.Model]) -> bool:
    """Whether keys are numbered or drawn: no user ever gets that of a former one."""
    key = key_of(model)
    return (
        isinstance(key, models.AutoField | models.UUIDField)
        or (key.has_default() and callable(key.default))
        or key.db_default is not models.NOT_PROVIDED
    )
