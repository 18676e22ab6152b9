"""Pages for recipients, who have no account."""

from django.urls import re_path

from apps.tracking import public_views

app_name = "public"
# With and without the slash: a redirect would lose the POST of a one-click unsubscription.
urlpatterns = [
    re_path(r"^(?P<token>[^/]+)/?$", public_views.unsubscribe, name="unsubscribe"),
]
