from django.urls import path

from apps.mailer.views import bulk, contact, contacts, imports, lists, suppression

app_name = "mailer"
urlpatterns = [
    path("", contacts.contacts, name="contacts"),
    path("columns/", contacts.columns, name="contact_columns"),
    path("bulk/", bulk.bulk, name="bulk"),
    path("jobs/", bulk.jobs, name="jobs"),
    path("jobs/<int:pk>/", bulk.job, name="job"),
    path("jobs/<int:pk>/progress/", bulk.progress, name="job_progress"),
    path("jobs/<int:pk>/cancel/", bulk.cancel, name="job_cancel"),
    path("jobs/<int:pk>/file/", bulk.file, name="job_file"),
    path("<int:pk>/", contact.contact, name="contact"),
    path("<int:pk>/edit/", contact.edit, name="contact_edit"),
    path("<int:pk>/data.json", contact.data, name="contact_data"),
    path("<int:pk>/erase/", contact.erase, name="contact_erase"),
    path("<int:pk>/unsubscribe/", contact.unsubscribe, name="contact_unsubscribe"),
    path("<int:pk>/resubscribe/", contact.resubscribe, name="contact_resubscribe"),
    path("lists/", lists.lists, name="lists"),
    path("lists/new/", lists.create, name="list_create"),
    path("lists/<int:pk>/", lists.contact_list, name="list"),
    path("lists/<int:pk>/delete/", lists.delete, name="list_delete"),
    path("imports/", imports.imports, name="imports"),
    path("imports/new/", imports.upload, name="upload"),
    path("imports/<int:pk>/", imports.detail, name="import"),
    path("imports/<int:pk>/columns/", imports.map_columns, name="map"),
    path("imports/<int:pk>/progress/", imports.progress, name="import_progress"),
    path("imports/<int:pk>/cancel/", imports.cancel, name="import_cancel"),
    path("imports/<int:pk>/retry/", imports.retry, name="import_retry"),
    path("imports/<int:pk>/rejected.csv", imports.rejected, name="rejected"),
    path("suppression/", suppression.suppression, name="suppression"),
    path("suppression/upload/", suppression.upload, name="suppression_upload"),
    path("suppression/export/", suppression.export, name="suppression_export"),
    path("suppression/<int:pk>/remove/", suppression.remove, name="suppression_remove"),
]
