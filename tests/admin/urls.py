"""A second admin site, which knows operations alone."""

from django.contrib.admin import AdminSite
from django.urls import path

from async_reply.admin import OperationAdmin
from async_reply.models import Operation

site = AdminSite(name="inner")
site.register(Operation, OperationAdmin)

urlpatterns = [path("inner/", site.urls)]
