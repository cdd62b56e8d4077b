"""The project's URLs with a language as their prefix."""

from django.conf.urls.i18n import i18n_patterns

from tests.project import urls

urlpatterns = i18n_patterns(*urls.urlpatterns)
