from typing import Any

from rest_framework import serializers


class OrderSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField(min_value=0)
    text = serializers.CharField(max_length=100, default="")
