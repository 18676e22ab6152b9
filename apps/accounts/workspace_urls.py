"""The pages of a workspace itself."""

from django.urls import path

from apps.accounts import workspace_views

app_name = "workspace"
urlpatterns = [path("settings/", workspace_views.settings, name="settings")]
