"""The URLs of webhooks: `path("api/", include("async_reply.contrib.webhooks.urls"))`."""

from django.urls import path

from async_reply.contrib.webhooks import views

app_name = "async_reply_webhooks"

urlpatterns = [
    path("webhooks/", views.EndpointsView.as_view(), name="endpoints"),
    path("webhooks/callback-secret/", views.CallbackSecretView.as_view(), name="callback-secret"),
    path("webhooks/deliveries/", views.DeliveriesView.as_view(), name="deliveries"),
    path("webhooks/deliveries/<str:id>/", views.DeliveryView.as_view(), name="delivery"),
    path("webhooks/deliveries/<str:id>/replay/", views.ReplayView.as_view(), name="replay"),
    path("webhooks/<str:id>/", views.EndpointView.as_view(), name="endpoint"),
    path("webhooks/<str:id>/secret/", views.SecretView.as_view(), name="secret"),
    path("webhooks/<str:id>/test/", views.TestView.as_view(), name="test"),
    path("webhooks/<str:id>/replay/", views.ReplaySinceView.as_view(), name="replay-since"),
]
