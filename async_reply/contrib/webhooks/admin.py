"""Shows operators endpoints and deliveries. No secret is on a page, and no query of a URL."""

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from async_reply.admin.moments import moment_column
from async_reply.admin.readonly import ReadOnlyAdmin
from async_reply.contrib.webhooks import replays
from async_reply.contrib.webhooks.models import Delivery, DeliveryTry, Endpoint

if TYPE_CHECKING:
    Inline = admin.TabularInline[Any, Any]
else:
    Inline = admin.TabularInline

DUE = moment_column(Delivery, "due_at")


class StateFilter(admin.SimpleListFilter):
    """Deliveries in one state."""

    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return model_admin.model.State.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state=self.value()) if self.value() else queryset


class EndpointAdmin(ReadOnlyAdmin):
    """The list and the pages of endpoints. Staff with the permission to change may act."""

    list_display = (
        "shown",
        "owner",
        "state",
        "listed_events",
        moment_column(Endpoint, "created_at"),
    )
    list_filter = (StateFilter,)
    ordering = ("-id",)
    fields: ClassVar[Any] = (
        *("id", "shown", "owner", "state", "listed_events", "whole"),
        *(moment_column(Endpoint, "created_at"), moment_column(Endpoint, "previous_until")),
    )
    readonly_fields = ("id", "shown", "listed_events")
    actions = ("enable", "disable", "send_test")

    @admin.display(description="URL")
    def shown(self, endpoint: Endpoint) -> str:
        return endpoint.shown_url

    @admin.display(description=gettext_lazy("events"))
    def listed_events(self, endpoint: Endpoint) -> str:
        return ", ".join(endpoint.events)

    def has_act_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("async_reply_webhooks.change_endpoint")

    @admin.action(description=gettext_lazy("Enable endpoints"), permissions=["act"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Endpoint]) -> None:
        queryset.update(state=Endpoint.State.ENABLED)

    @admin.action(description=gettext_lazy("Disable endpoints"), permissions=["act"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Endpoint]) -> None:
        queryset.update(state=Endpoint.State.DISABLED)

    @admin.action(description=gettext_lazy("Send a test"), permissions=["act"])
    def send_test(self, request: HttpRequest, queryset: QuerySet[Endpoint]) -> None:
        for endpoint in queryset[:100]:
            replays.send_test(endpoint)
        self.message_user(request, _("The test is on its way: see the deliveries."))


class TryInline(Inline):
    """The ledger of a delivery."""

    model = DeliveryTry
    fields = ("posted_at", "message_id", "status", "seconds", "error", "answer")
    readonly_fields = fields
    ordering = ("-id",)
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class DeliveryAdmin(ReadOnlyAdmin):
    """The list and the pages of deliveries, with their ledger."""

    list_display = ("operation", "kind", "event", "state", "host", "tries", DUE)
    list_filter = (StateFilter,)
    list_deferred = ("body",)
    ordering = ("-id",)
    fields: ClassVar[Any] = (
        *("id", "operation", "kind", "owner", "endpoint", "shown", "state", "event", "message"),
        *("tries", DUE, moment_column(Delivery, "created_at")),
        *(moment_column(Delivery, "ended_at"), moment_column(Delivery, "give_up_at")),
    )
    readonly_fields = ("id", "shown", "message")
    inlines = (TryInline,)
    actions = ("replay",)

    @admin.display(description="URL")
    def shown(self, delivery: Delivery) -> str:
        return delivery.shown_url

    @admin.display(description=gettext_lazy("message"))
    def message(self, delivery: Delivery) -> str:
        return delivery.message_id if delivery.event else ""

    def has_act_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("async_reply_webhooks.change_delivery")

    @admin.action(description=gettext_lazy("Send again"), permissions=["act"])
    def replay(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        count = replays.replay(*queryset.only("pk")[: replays.REPLAYED_ROWS])
        text = ngettext(
            "%(count)s message is sent again.", "%(count)s messages are sent again.", count
        )
        self.message_user(request, text % {"count": count}, messages.SUCCESS)


admin.site.register(Endpoint, EndpointAdmin)
admin.site.register(Delivery, DeliveryAdmin)
