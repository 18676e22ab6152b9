from django.urls import path

from apps.mailer.views import checks, contacts, imports, lists, suppression

app_name = "mailer"
urlpatterns = [
    path("", contacts.contacts, name="contacts"),
    path("<int:pk>/", contacts.contact, name="contact"),
    path("<int:pk>/unsubscribe/", contacts.unsubscribe, name="contact_unsubscribe"),
    path("<int:pk>/resubscribe/", contacts.resubscribe, name="contact_resubscribe"),
    path("lists/", lists.lists, name="lists"),
    path("lists/new/", lists.create, name="list_create"),
    path("lists/<int:pk>/", lists.contact_list, name="list"),
    path("lists/<int:pk>/delete/", lists.delete, name="list_delete"),
    path("lists/<int:pk>/verify/", checks.verify, name="list_verify"),
    path("lists/<int:pk>/checks/", checks.progress, name="list_checks"),
    path("verdicts/", checks.help_page, name="verdicts"),
    path("imports/", imports.imports, name="imports"),
    path("imports/new/", imports.upload, name="upload"),
    path("imports/<int:pk>/", imports.detail, name="import"),
    path("imports/<int:pk>/columns/", imports.map_columns, name="map"),
    path("imports/<int:pk>/progress/", imports.progress, name="import_progress"),
    path("imports/<int:pk>/cancel/", imports.cancel, name="import_cancel"),
    path("imports/<int:pk>/retry/", imports.retry, name="import_retry"),
    path("imports/<int:pk>/rejected.csv", imports.rejected, name="rejected"),
    path("suppression/", suppression.suppression, name="suppression"),
    path("suppression/<int:pk>/remove/", suppression.remove, name="suppression_remove"),
]
