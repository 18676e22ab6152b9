"""Pages and addresses for recipients, who have no account."""

from django.urls import path, re_path

from apps.tracking import public_views, report_views

app_name = "public"
# Unsubscribing with and without the slash: a redirect would lose the POST of one click.
urlpatterns = [
    re_path(r"^u/(?P<token>[^/]+)/?$", public_views.unsubscribe, name="unsubscribe"),
    path("c/<str:token>", public_views.click, name="click"),
    path("o/<str:token>.gif", public_views.opened, name="open"),
    path("r/<str:token>/", report_views.shared_report, name="shared_report"),
    path("r/<str:token>/click-map/", report_views.shared_click_map, name="shared_click_map"),
]
