from collections.abc import Callable
from typing import Any

import pytest
from django.urls import include, path
from pytest_django import Settings


@pytest.fixture
def urls(settings: Settings) -> Callable[..., None]:
    """Give the URLconf these view classes alone, with or without the URLs of operations."""

    class Module:
        urlpatterns: list[Any] = []

    def mount(*classes: Any, operations: bool = True) -> None:
        Module.urlpatterns = [path(f"{cls.__name__}/", cls.as_view()) for cls in classes]
        if operations:
            Module.urlpatterns.append(path("", include("async_reply.urls")))
        settings.ROOT_URLCONF = Module

    return mount
