from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AsyncReplyConfig(AppConfig):
    name = "async_reply"
    verbose_name = _("Asynchronous replies")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from async_reply import checks  # noqa: F401 they register themselves
        from async_reply.services import owners
        from async_reply.worker import receivers  # noqa: F401 they connect to Celery's signals

        owners.listen()
