"""Settings whose web processes have the metrics for Prometheus."""

from tests.settings import *  # noqa: F403

ROOT_URLCONF = "tests.project.measured_urls"
