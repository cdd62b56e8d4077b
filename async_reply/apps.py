from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AsyncReplyConfig(AppConfig):
    name = "async_reply"
    verbose_name = _("Asynchronous replies")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # These imports register the checks, a Celery task, and receivers of Celery's signals.
        from async_reply import checks  # noqa: F401
        from async_reply.services import owners
        from async_reply.worker import beat, receivers  # noqa: F401

        owners.listen()
