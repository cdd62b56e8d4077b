"""An app for INSTALLED_APPS that tells clients by webhook. Needs the extra `webhooks`."""
