"""The page of a letter, for recipients who have no account."""

from django.urls import path

from apps.campaigns import public_views

app_name = "letters"
urlpatterns = [path("v/<str:token>", public_views.view, name="view")]
