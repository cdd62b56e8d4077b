"""The project's URLs below a language."""

from django.conf.urls.i18n import i18n_patterns

from tests.project import urls

urlpatterns = i18n_patterns(*urls.urlpatterns)
