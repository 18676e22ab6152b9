"""Addresses of pictures in letters."""

from django.urls import re_path

from apps.content import public_views

app_name = "pictures"
urlpatterns = [
    re_path(
        r"^m/(?P<key>[A-Za-z0-9_-]{22})\.(?P<format>png|jpg|gif)$",
        public_views.picture,
        name="picture",
    ),
]
