from django.urls import path

from apps.returns import views

app_name = "returns"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("reports/", views.reports, name="reports"),
    path("mailboxes/new/", views.mailbox_add, name="mailbox_add"),
    path("mailboxes/<int:pk>/", views.mailbox_edit, name="mailbox_edit"),
    path("mailboxes/<int:pk>/delete/", views.mailbox_delete, name="mailbox_delete"),
    path("webhooks/new/", views.webhook_add, name="webhook_add"),
    path("webhooks/<int:pk>/delete/", views.webhook_delete, name="webhook_delete"),
    path("domains/<int:pk>/", views.return_path, name="return_path"),
]
