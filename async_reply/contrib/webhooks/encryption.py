"""Encrypts the secrets of webhooks for the database, with the project's SECRET_KEY.

Keys in SECRET_KEY_FALLBACKS still decrypt. A secret that no key decrypts is lost: its endpoint
needs a new one.
"""

import base64
import hashlib
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

#: Makes these keys differ from all others that are derived from SECRET_KEY.
PURPOSE = b"async_reply.contrib.webhooks.secrets"


class Undecryptable(Exception):
    """No key of the project decrypts this secret: make a new one."""


def encrypt(text: str) -> str:
    return _fernet().encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """The secret. Raises Undecryptable."""
    from cryptography.fernet import InvalidToken

    try:
        return _fernet().decrypt(token.encode()).decode()
    except InvalidToken:
        raise Undecryptable("The secret was encrypted with another SECRET_KEY.") from None


def _fernet() -> "MultiFernet":
    """The first key encrypts; all decrypt. The import waits: the extra may be missing."""
    from cryptography.fernet import Fernet, MultiFernet

    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([Fernet(_derive(key)) for key in keys])


def _derive(key: str | bytes) -> bytes:
    secret = key.encode() if isinstance(key, str) else key
    digest = hashlib.blake2b(secret, digest_size=32, person=b"async_rwebhooks", salt=b"").digest()
    return base64.urlsafe_b64encode(digest)
