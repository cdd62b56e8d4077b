"""Facts about the project's user model, for checks, permissions and deleted users."""

from collections.abc import Collection
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models

#: The most users that a text may mean.
MAX_NAMED = 20


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


def by_key(keys: Collection[str]) -> dict[str, models.Model]:
    """The users with these primary keys, given as text. Other texts have no user. One statement."""
    model = user_model()
    if model is None:
        return {}
    key = key_of(model)
    values = []
    for text in keys:
        try:
            value = key.to_python(text)
            key.run_validators(value)  # a number may be too large for the column
        except (ValidationError, ValueError, OverflowError):
            continue
        # "07" and " 7" are not how a user with the key 7 is named.
        if str(value) == text:
            values.append(value)
    if not values:
        return {}
    manager = model._default_manager  # noqa: SLF001 Django's own API
    return {str(user.pk): user for user in manager.filter(pk__in=values)}


def named(text: str) -> list[str]:
    """The primary keys, as text, of the users whose user name begins with `text`."""
    model = user_model()
    field = getattr(model, "USERNAME_FIELD", None)
    if model is None or field is None or not text:
        return []
    manager = model._default_manager  # noqa: SLF001 Django's own API
    rows = manager.filter(**{f"{field}__startswith": text}).order_by(field)
    return [str(pk) for pk in rows.values_list("pk", flat=True)[:MAX_NAMED]]
