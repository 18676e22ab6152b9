"""Pages and addresses for recipients, who have no account."""

from django.urls import path, re_path

from apps.tracking import preference_views, public_views, report_views, signup_views

app_name = "public"
# Unsubscribing with and without the slash: a redirect would lose the POST of one click.
urlpatterns = [
    re_path(r"^u/(?P<token>[^/]+)/?$", preference_views.unsubscribe, name="unsubscribe"),
    re_path(r"^f/(?P<key>[A-Za-z0-9_-]{1,32})/?$", signup_views.signup, name="signup"),
    re_path(r"^s/(?P<key>[A-Za-z0-9_-]{1,32})/?$", signup_views.confirm, name="confirm"),
    path("c/<str:token>", public_views.click, name="click"),
    path("o/<str:token>.gif", public_views.opened, name="open"),
    path("r/<str:token>/", report_views.shared_report, name="shared_report"),
    path("r/<str:token>/click-map/", report_views.shared_click_map, name="shared_click_map"),
]
