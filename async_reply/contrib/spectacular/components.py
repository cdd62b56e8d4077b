"""The components of the schema: the documents of operations, and problem documents."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from rest_framework import serializers

from async_reply.status import Status


class StatusField(serializers.ChoiceField):
    """The status of an operation."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=Status.values, **options)


class StatusExtension(OpenApiSerializerFieldExtension):
    """Makes a component of the statuses, under a name of its own.

    drf-spectacular names enums by their field. A project may have a field `status` too.
    """

    target_class = StatusField

    def get_name(self) -> str:
        return "OperationStatus"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        return {"type": "string", "enum": list(Status.values)}


class QuestionSerializer(serializers.Serializer[Any]):
    """The question of a job; `schema` is the JSON Schema of an answer."""

    name = serializers.CharField()
    schema = serializers.JSONField()
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    link = serializers.URLField(allow_null=True)


class AnsweredSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    status = serializers.CharField(help_text='Always "answered".')


class OperationLinksSerializer(serializers.Serializer[Any]):
    self = serializers.URLField()
    monitor = serializers.URLField()
    result = serializers.URLField()
    cancel = serializers.URLField(required=False)
    events = serializers.URLField(required=False)
    log = serializers.URLField(required=False)
    input = serializers.URLField(required=False, help_text="While the job asks.")


class OperationReceiptSerializer(serializers.Serializer[Any]):
    """The body of a submit's 202. Each replay of the idempotency key gets the same body."""

    id = serializers.UUIDField()
    kind = serializers.CharField()
    status = StatusField(help_text='Always "pending".')
    created_at = serializers.DateTimeField()
    links = OperationLinksSerializer()


class ProblemSerializer(serializers.Serializer[Any]):
    """A problem document (RFC 9457); `errors` names the invalid fields of a request."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(allow_blank=True)
    code = serializers.CharField(required=False)
    message = serializers.CharField(required=False)
    errors = serializers.JSONField(required=False)  # type: ignore[assignment]  # its own name


class OperationSerializer(serializers.Serializer[Any]):
    """An operation as it is now."""

    id = serializers.UUIDField()
    kind = serializers.CharField()
    status = StatusField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    updated_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    progress = serializers.IntegerField(min_value=0, max_value=100, allow_null=True)
    message = serializers.CharField(allow_blank=True)
    eta_seconds = serializers.FloatField(allow_null=True)
    attempt = serializers.IntegerField(min_value=0)
    links = OperationLinksSerializer()
    queue_position = serializers.IntegerField(required=False, help_text="While pending.")
    input_required = QuestionSerializer(required=False, help_text="While the job asks.")
    resourceLocation = serializers.URLField(required=False, help_text="Once succeeded.")  # noqa: N815
    error = ProblemSerializer(required=False, help_text="Once failed or canceled.")


class OperationPageSerializer(serializers.Serializer[Any]):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = OperationSerializer(many=True)


class LogEventSerializer(serializers.Serializer[Any]):
    """An event of a log. The last one is named by the final status and has the document as data."""

    id = serializers.IntegerField(min_value=1, help_text="Counts from 1 in each operation.")
    event = serializers.CharField(
        help_text='The name that the job gave, or "log", "reset", "truncated" or a final status.'
    )
    at = serializers.DateTimeField(allow_null=True, help_text="Null where events were removed.")
    data = serializers.JSONField(allow_null=True)  # type: ignore[assignment]  # its own name


class LogPageSerializer(serializers.Serializer[Any]):
    events = LogEventSerializer(many=True)
    last = serializers.IntegerField(min_value=0, help_text="The `after` of the next page.")
    complete = serializers.BooleanField(help_text="Whether nothing will follow.")


class WebhookDataSerializer(serializers.Serializer[Any]):
    """The operation in a message: some of its document, or all."""

    id = serializers.UUIDField()
    kind = serializers.CharField()
    status = StatusField()
    resourceLocation = serializers.URLField(required=False)  # noqa: N815 a name of the protocol


class WebhookMessageSerializer(serializers.Serializer[Any]):
    type = serializers.CharField()
    timestamp = serializers.DateTimeField()
    data = WebhookDataSerializer()  # type: ignore[assignment]  # the base has `data`, too
