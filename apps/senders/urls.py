from django.urls import path

from apps.senders import views

app_name = "senders"
urlpatterns = [
    path("", views.relay, name="relay"),
    path("delete/", views.relay_delete, name="relay_delete"),
]
