"""Where files of operations are kept."""

from typing import Any, NoReturn

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import Storage, storages

from async_reply import conf


class NoStorage(Storage):
    """Stands where the setting names no storage, and keeps nothing.

    The default storage would not do: web servers publish what many projects keep there.
    """

    def _refuse(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise ImproperlyConfigured('ASYNC_REPLY["STORAGE"] names no storage: see manage.py check.')

    _open = _save = delete = exists = listdir = _refuse


def is_named() -> bool:
    """Whether the setting `STORAGE` names one of the project's."""
    configured = conf.configured()
    if not isinstance(configured, dict):
        return False
    alias = conf.get("STORAGE")
    return isinstance(alias, str) and alias in settings.STORAGES


def operation_storage() -> Storage:
    """The storage that the setting `STORAGE` names; Django asks once, when it loads the models.

    Checks come later: what they are to refuse must load.
    """
    return storages[conf.get("STORAGE")] if is_named() else NoStorage()
