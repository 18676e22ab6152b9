from django.urls import path

from apps.tracking import views

app_name = "tracking"
urlpatterns = [
    path("", views.dashboard, name="dashboard"),
    path("now/", views.dashboard_now, name="dashboard_now"),
]
