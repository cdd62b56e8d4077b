"""Signs webhooks by Standard Webhooks 1.0.0: HMAC-SHA256 (`v1`) and ed25519 (`v1a`)."""

import base64
import binascii
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SYMMETRIC, PRIVATE, PUBLIC = "whsec_", "whsk_", "whpk_"
SECRET_BYTES = 32
#: An ed25519 key is its seed; some libraries append the public key to it.
SEED_BYTES, KEY_PAIR_BYTES = 32, 64


def new_secret() -> str:
    """A new secret for HMAC: 32 random bytes; the specification asks for 24 to 64."""
    return SYMMETRIC + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def sign(keys: Sequence[str], message_id: str, sent_at: datetime, body: str) -> dict[str, str]:
    """The headers of a message, with one signature for each key.

    While a secret is rotated, there are two of them: a receiver takes any that it can verify.
    """
    # The library would take a local time for one in UTC.
    moment = sent_at.astimezone(UTC)
    signatures = [_signature(key, message_id, moment, body) for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _signature(key: str, message_id: str, moment: datetime, body: str) -> str:
    if not key.startswith(PRIVATE):
        from standardwebhooks import Webhook

        return Webhook(key).sign(message_id, moment, body)
    signed = f"{message_id}.{int(moment.timestamp())}.{body}".encode()
    return f"v1a,{base64.b64encode(_private_key(key).sign(signed)).decode()}"


def public_key(key: str) -> str:
    """The `whpk_` that receivers verify with, for a private key `whsk_`. Raises ValueError."""
    return PUBLIC + base64.b64encode(_private_key(key).public_key().public_bytes_raw()).decode()


def _private_key(key: str) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        raw = base64.b64decode(key.removeprefix(PRIVATE), validate=True)
    except binascii.Error:
        raw = b""
    if not key.startswith(PRIVATE) or len(raw) not in (SEED_BYTES, KEY_PAIR_BYTES):
        raise ValueError(f"A private key is {PRIVATE} and 32 or 64 bytes in base64.")
    return Ed25519PrivateKey.from_private_bytes(raw[:SEED_BYTES])
