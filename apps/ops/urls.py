from django.urls import path

from apps.ops import views

app_name = "ops"
urlpatterns = [
    path("connections/", views.connections, name="connections"),
    path("connections/close-idle/", views.close_idle, name="close_idle"),
]
