"""The app of the fault suite; where a mutant is asked for, it is born here."""

from django.apps import AppConfig
from django.conf import settings


class FaultsConfig(AppConfig):
    name = "tests.faults.project"
    label = "faults"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        if getattr(settings, "FAULTS_MUTANT", ""):
            from tests.faults.project import mutants

            mutants.install(settings.FAULTS_MUTANT)
