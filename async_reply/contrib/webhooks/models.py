"""The tables: receivers, one delivery for each operation and receiver, and each try."""

from contextlib import suppress
from datetime import datetime
from typing import Any

from django.core.checks import CheckMessage
from django.db import models
from django.utils.translation import gettext_lazy as _

from async_reply.contrib.webhooks import encryption, events, signatures
from async_reply.contrib.webhooks.addresses import MAX_URL_LENGTH
from async_reply.database.clock import DatabaseNow, after, seconds_until
from async_reply.database.fields import ExactCharField, ExactTextField
from async_reply.database.identifiers import uuid7
from async_reply.models import OWNER_LENGTH
from async_reply.querysets import PrimaryManager

#: Seconds for which both secrets sign after a rotation.
OVERLAP_SECONDS = 24 * 3600


class Signed(models.Model):
    """A secret, and for a while after a rotation the one before it. Both are encrypted."""

    secret = ExactTextField(editable=False)
    previous_secret = ExactTextField(blank=True, default="", editable=False)
    previous_until = models.DateTimeField(
        _("previous secret until"), null=True, blank=True, editable=False
    )

    class Meta:
        abstract = True

    def renew_secret(self) -> str:
        """Set a new secret and return it: nobody can read it again. The caller saves the row.

        The secret before it signs for another day.
        """
        if self.secret:
            self.previous_secret, self.previous_until = self.secret, after(OVERLAP_SECONDS)
        secret = signatures.new_secret()
        self.secret = encryption.encrypt(secret)
        return secret

    def keys(self) -> list[str]:
        """The secrets that sign now. Raises encryption.Undecryptable for the current one."""
        keys = [encryption.decrypt(self.secret)]
        until: datetime | None = self.previous_until
        if self.previous_secret and until is not None and seconds_until(until) > 0:
            # The owner may have made the current one because nothing decrypts the previous one.
            with suppress(encryption.Undecryptable):
                keys.append(encryption.decrypt(self.previous_secret))
        return keys


class Endpoint(Signed):
    """A receiver that its owner registered: it hears of all operations of the owner."""

    class State(models.TextChoices):
        ENABLED = "enabled", _("enabled")
        DISABLED = "disabled", _("disabled")
        GONE = "gone", _("gone")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = ExactCharField(_("owner"), max_length=OWNER_LENGTH)
    url = ExactCharField("URL", max_length=MAX_URL_LENGTH)
    events = models.JSONField(_("events"), default=events.default)
    whole = models.BooleanField(
        _("whole document"),
        default=False,
        help_text=_("Whether messages hold the operation's whole document."),
    )
    # "gone": its receiver has answered 410.
    state = ExactCharField(_("state"), max_length=8, choices=State.choices, default=State.ENABLED)
    # Scheme, host and prefix of the request that made it: links in messages begin with them.
    base_url = ExactCharField(max_length=500, blank=True, default="", editable=False)
    api_version = ExactCharField(max_length=50, null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created at"), db_default=DatabaseNow(), editable=False)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("webhook endpoint")
        verbose_name_plural = _("webhook endpoints")
        indexes = (models.Index(fields=["owner", "id"], name="async_reply_endpoint_owner"),)

    def __str__(self) -> str:
        return self.shown_url

    @property
    def shown_url(self) -> str:
        return shown(self.url)


class CallbackSecret(Signed):
    """The secret of an owner, which signs the messages to the callbacks of its requests."""

    owner = ExactCharField(_("owner"), max_length=OWNER_LENGTH, primary_key=True)
    created_at = models.DateTimeField(_("created at"), db_default=DatabaseNow(), editable=False)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("callback secret")
        verbose_name_plural = _("callback secrets")

    def __str__(self) -> str:
        return self.owner


class Delivery(models.Model):
    """The messages about one operation to one receiver.

    The row is stored with the operation, and has no foreign key to it: it outlives the operation.
    It holds one event at a time. A later event takes the place of one that keeps failing.
    """

    class State(models.TextChoices):
        OPEN = "open", _("open")
        DELIVERED = "delivered", _("delivered")
        FAILED = "failed", _("failed")
        CLOSED = "closed", _("closed")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    operation = models.UUIDField(_("operation"))
    kind = ExactCharField(_("kind"), max_length=200)
    owner = ExactCharField(_("owner"), max_length=OWNER_LENGTH)
    # None: the callback of one request, whose URL is here.
    endpoint = models.UUIDField(_("endpoint"), null=True, blank=True)
    url = ExactCharField("URL", max_length=MAX_URL_LENGTH, blank=True, default="")
    host = ExactCharField(_("host"), max_length=255)
    base_url = ExactCharField(max_length=500, blank=True, default="", editable=False)
    api_version = ExactCharField(max_length=50, null=True, blank=True, editable=False)
    whole = models.BooleanField(_("whole document"), default=False)
    wants_started = models.BooleanField(default=False)
    wants_input = models.BooleanField(default=False)
    wants_expired = models.BooleanField(default=False)
    outcomes = models.JSONField(_("outcomes"), default=list)

    state = ExactCharField(_("state"), max_length=9, choices=State.choices, default=State.OPEN)
    # The event at hand, or the last one; its number if it may come several times.
    event = ExactCharField(_("event"), max_length=40, blank=True, default="")
    number = models.PositiveIntegerField(_("number"), default=0)
    # The message of the event: each try and each replay sends the same.
    body = ExactTextField(_("message"), blank=True, default="", editable=False)
    is_told = models.BooleanField(_("told"), default=False)
    # Whether the operation's outcome was found: nothing follows except that it expires.
    has_outcome = models.BooleanField(default=False)
    tries = models.PositiveIntegerField(_("tries"), default=0)
    give_up_at = models.DateTimeField(_("given up at"), null=True, blank=True)
    # None: nothing is to be sent until the operation goes on.
    due_at = models.DateTimeField(_("due at"), null=True, blank=True)
    # The receiver asked to be left alone until then (Retry-After).
    not_before = models.DateTimeField(_("not before"), null=True, blank=True)
    claims = models.PositiveIntegerField(default=0, editable=False)
    lease_expires_at = models.DateTimeField(_("lease expires at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), db_default=DatabaseNow(), editable=False)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("webhook delivery")
        verbose_name_plural = _("webhook deliveries")
        constraints = (
            models.UniqueConstraint(
                fields=["operation", "endpoint"], name="async_reply_delivery_once"
            ),
        )
        # MariaDB drops the conditions: each index therefore begins with the state.
        indexes = (
            models.Index(
                fields=["state", "due_at"],
                condition=models.Q(state="open"),
                name="async_reply_delivery_due",
            ),
            models.Index(
                fields=["state", "id"],
                condition=models.Q(state="open"),
                name="async_reply_delivery_open",
            ),
            models.Index(fields=["endpoint", "id"], name="async_reply_delivery_endpoint"),
            models.Index(fields=["owner", "id"], name="async_reply_delivery_owner"),
            models.Index(fields=["ended_at"], name="async_reply_delivery_ended"),
        )

    def __str__(self) -> str:
        return self.message_id

    @classmethod
    def check(cls, **kwargs: Any) -> list[CheckMessage]:
        """Drop W037: the indexes serve without their conditions too."""
        return [message for message in super().check(**kwargs) if message.id != "models.W037"]

    @property
    def message_id(self) -> str:
        """The header `webhook-id`: the same for each try and each replay of one event."""
        return events.message_id(self.operation, self.event, self.number)

    @property
    def shown_url(self) -> str:
        return shown(self.url)


class DeliveryTry(models.Model):
    """One post of a message, and the answer."""

    delivery = models.ForeignKey(Delivery, models.CASCADE, db_index=False, related_name="ledger")
    message_id = ExactCharField(_("message"), max_length=100)
    posted_at = models.DateTimeField(_("posted at"), db_default=DatabaseNow())
    seconds = models.FloatField(_("seconds"))
    status = models.PositiveSmallIntegerField(_("HTTP status"), null=True, blank=True)
    error = ExactCharField(_("error"), max_length=255, blank=True, default="")
    # The first kilobyte.
    answer = ExactTextField(_("answer"), blank=True, default="")

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("webhook try")
        verbose_name_plural = _("webhook tries")
        indexes = (models.Index(fields=["delivery", "id"], name="async_reply_try_delivery"),)

    def __str__(self) -> str:
        return self.message_id


def shown(url: str) -> str:
    """The URL as everybody may see it: a query may contain a password of the receiver."""
    path, question_mark, _query = url.partition("?")
    return f"{path}?…" if question_mark else path
