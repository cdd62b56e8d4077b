"""A second admin site, on which only operations are registered."""

from django.contrib.admin import AdminSite
from django.urls import path

from async_reply.admin import OperationAdmin
from async_reply.models import Operation

site = AdminSite(name="inner")
site.register(Operation, OperationAdmin)

urlpatterns = [path("inner/", site.urls)]
