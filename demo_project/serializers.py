"""The inputs and the results of the demo's views."""

from typing import Any

from rest_framework import serializers

from demo_project.models import Dataset


class CsvProfileRequestSerializer(serializers.Serializer[Any]):
    file = serializers.FileField(
        allow_empty_file=True, help_text="A CSV file in UTF-8 with a header."
    )


class ExportRequestSerializer(serializers.Serializer[Any]):
    rows = serializers.IntegerField(min_value=0, max_value=100_000_000)


class DatasetRequestSerializer(CsvProfileRequestSerializer):
    name = serializers.CharField(
        max_length=255,
        required=False,
        help_text="The name of the dataset. Without it, the name of the file is used.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return {"name": attrs["file"].name, **attrs}


class DatasetSerializer(serializers.ModelSerializer[Dataset]):
    class Meta:
        model = Dataset
        fields = ["id", "name", "rows", "columns", "created_at"]


class SleepRequestSerializer(serializers.Serializer[Any]):
    seconds = serializers.FloatField(min_value=0, max_value=24 * 3600, default=1.0)
    steps = serializers.IntegerField(min_value=1, max_value=10_000, default=10)
    outcome = serializers.ChoiceField(
        choices=["succeed", "fail", "crash", "crash_once"], default="succeed"
    )
    value = serializers.JSONField(allow_null=True, default=None)


class SleepSerializer(serializers.Serializer[Any]):
    slept = serializers.FloatField()
    value = serializers.JSONField(allow_null=True)
