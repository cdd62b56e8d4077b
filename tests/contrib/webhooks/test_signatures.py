"""Messages are signed as Standard Webhooks 1.0.0 says, and secrets are encrypted."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pytest_django import Settings
from standardwebhooks import Webhook, WebhookVerificationError

from async_reply.contrib.webhooks import encryption, signatures
from async_reply.contrib.webhooks.models import CallbackSecret

#: The vectors of the libraries that the specification's authors publish.
MESSAGE_ID, SENT_AT = "msg_p5jXN8AQM9LWM0D4loKWxJek", datetime.fromtimestamp(1614265330, UTC)
BODY = '{"test": 2432232314}'
PRIVATE_KEY = "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk="
ED25519 = (
    "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag=="
)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HMAC = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_signatures__are_those_of_the_vectors() -> None:
    headers = signatures.sign([SECRET, PRIVATE_KEY], MESSAGE_ID, SENT_AT, BODY)
    assert headers == {
        "webhook-id": MESSAGE_ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": f"{HMAC} {ED25519}",
    }


def test_local_time__is_not_taken_for_utc() -> None:
    local = SENT_AT.astimezone(timezone(timedelta(hours=5)))
    assert signatures.sign([SECRET], MESSAGE_ID, local, BODY) == signatures.sign(
        [SECRET], MESSAGE_ID, SENT_AT, BODY
    )


def test_public_key__is_of_the_private_key() -> None:
    import base64

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    public = signatures.public_key(PRIVATE_KEY)
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    signed = f"{MESSAGE_ID}.1614265330.{BODY}".encode()
    key.verify(base64.b64decode(ED25519.partition(",")[2]), signed)


@pytest.mark.parametrize("key", ["whsk_", "whsk_AAAA", "whsk_!", SECRET])
def test_bad_private_key__is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="32 or 64 bytes"):
        signatures.public_key(key)


def test_new_secret__signs_and_stays_encrypted() -> None:
    row = CallbackSecret(owner="1")
    secret = row.renew_secret()
    assert secret.startswith("whsec_")
    assert secret not in row.secret
    assert row.keys() == [secret]


def test_rotation__signs_with_both_secrets_for_a_day() -> None:
    row = CallbackSecret(owner="1")
    first = row.renew_secret()
    second = row.renew_secret()
    now = datetime.now(UTC)
    row.previous_until = now + timedelta(minutes=1)
    assert row.keys() == [second, first]
    headers = signatures.sign(row.keys(), "x", now, BODY)
    for secret in (first, second):
        Webhook(secret).verify(BODY, headers)
    row.previous_until = now - timedelta(minutes=1)
    assert row.keys() == [second]
    with pytest.raises(WebhookVerificationError):
        Webhook(first).verify(BODY, signatures.sign(row.keys(), "x", now, BODY))


def test_old_secret_key__still_decrypts(settings: Settings) -> None:
    token = encryption.encrypt("text")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new" * 20, [settings.SECRET_KEY]
    assert encryption.decrypt(token) == "text"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(encryption.Undecryptable):
        encryption.decrypt(token)
