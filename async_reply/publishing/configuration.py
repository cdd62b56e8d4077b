"""Reads Celery's settings for publishing once, and again after the project has changed them.

Celery looks a setting up under several names in several places. The eight look-ups of a submit take
a twentieth of its time.
"""

from dataclasses import dataclass
from typing import Any

from celery import current_app
from django.core.signals import setting_changed


@dataclass(frozen=True, eq=False)
class Configuration:
    """Settings of the app `app`, as they were when its configuration was `changes`."""

    app: Any
    settings: Any
    changes: dict[str, Any]
    is_eager: bool
    pool_limit: int | None
    #: URL, transport and options of the broker, for messages that are sent.
    broker: tuple[Any, ...]

    def holds(self, app: Any) -> bool:
        """Whether it is the configuration of `app`, and the project has set nothing since."""
        settings = app.conf
        return self.settings is settings and self.changes == settings.changes


_last: Configuration | None = None


def current() -> Configuration:
    """The configuration of Celery's current app. The same object until a setting changes."""
    global _last
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 a proxy
    last = _last
    if last is None or last.app is not app or not last.holds(app):
        last = _last = _read(app)
    return last


def _read(app: Any) -> Configuration:
    # Celery loads the settings at the first look-up, and they are another object then.
    is_eager = bool(app.conf.task_always_eager)
    settings = app.conf
    options = dict(settings.broker_transport_options or {})
    return Configuration(
        app=app,
        settings=settings,
        changes=dict(settings.changes),
        is_eager=is_eager,
        pool_limit=settings.broker_pool_limit,
        broker=(settings.broker_write_url, settings.broker_transport, options),
    )


def _forget(**_kwargs: Any) -> None:
    """Django's settings have changed, as in tests. Celery reads them when it looks one up."""
    global _last
    _last = None


setting_changed.connect(_forget)
