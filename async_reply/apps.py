from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AsyncReplyConfig(AppConfig):
    name = "async_reply"
    verbose_name = _("Asynchronous replies")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from async_reply import checks, owners, workers  # noqa: F401 two register themselves

        owners.listen()
