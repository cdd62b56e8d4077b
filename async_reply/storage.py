"""Says in which storage the files of operations are, and at which paths."""

import secrets
import time
from typing import Any, NoReturn

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import Storage, storages

from async_reply import conf

FOLDER = "async_reply"


class NoStorage(Storage):
    """Refuses all files, because the setting `STORAGE` names no storage.

    The default storage takes its place in no case: many projects publish the files in it.
    """

    def _refuse(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise ImproperlyConfigured('ASYNC_REPLY["STORAGE"] names no storage: see manage.py check.')

    _open = _save = delete = exists = listdir = _refuse


def is_named() -> bool:
    """Whether the setting `STORAGE` names a storage of the project."""
    configured = conf.configured()
    if not isinstance(configured, dict):
        return False
    alias = conf.get("STORAGE")
    return isinstance(alias, str) and alias in settings.STORAGES


def operation_storage() -> Storage:
    """The storage that the setting `STORAGE` names. Django asks once, when it loads the models.

    A wrong setting raises no error here: models must load before a check can report it.
    """
    return storages[conf.get("STORAGE")] if is_named() else NoStorage()


def file_path(instance: Any, filename: str) -> str:
    """`async_reply/<yyyymmdd>/<operation>/<attempt>/<token>-<name>`.

    The day lets maintenance look for orphans in old folders. The token tells files of one name
    apart: object storages overwrite by default.
    """
    created = (instance.operation_id.int >> 80) / 1000  # the id starts with its milliseconds
    day = time.strftime("%Y%m%d", time.gmtime(created))
    folder = f"{FOLDER}/{day}/{instance.operation_id}/{instance.attempt}"
    return f"{folder}/{secrets.token_hex(4)}-{filename}"
