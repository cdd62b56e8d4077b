"""An app for INSTALLED_APPS that traces operations. Needs the extra `opentelemetry`."""
