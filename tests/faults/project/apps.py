"""The app of the fault suite.

It installs the mutant that FAULTS_MUTANT names, and the deaths of FAULTS_DEATHS (see `deaths`).
"""

import os
from pathlib import Path

from django.apps import AppConfig


class FaultsConfig(AppConfig):
    name = "tests.faults.project"
    label = "faults"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        if mutant := os.environ.get("FAULTS_MUTANT"):
            from tests.faults.project import mutants

            mutants.install(mutant)
        if "FAULTS_DEATHS" in os.environ:
            from tests.faults.project import deaths

            deaths.hasten()
            if folder := os.environ["FAULTS_DEATHS"]:
                deaths.install(Path(folder))
