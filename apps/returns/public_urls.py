"""Addresses for providers of relays."""

from django.urls import path

from apps.returns import public_views

app_name = "hooks"
urlpatterns = [path("<slug:provider>/<str:key>/", public_views.notice, name="notice")]
