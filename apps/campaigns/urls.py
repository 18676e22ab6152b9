from django.urls import path

from apps.campaigns.views import campaigns, deliveries, editor, preflight, steering

app_name = "campaigns"
urlpatterns = [
    path("", campaigns.campaigns, name="list"),
    path("new/", campaigns.create, name="create"),
    path("audience/", campaigns.audience, name="audience"),
    path("<int:pk>/", campaigns.detail, name="detail"),
    path("<int:pk>/progress/", campaigns.progress, name="progress"),
    path("<int:pk>/left-out/", campaigns.left_out, name="left_out"),
    path("<int:pk>/edit/", editor.edit, name="edit"),
    path("<int:pk>/preview/", editor.preview, name="preview"),
    path("<int:pk>/preview-text/", editor.preview_text, name="preview_text"),
    path("<int:pk>/test/", editor.test_send, name="test_send"),
    path("<int:pk>/test/<int:test_pk>/", editor.test_send_status, name="test_send_status"),
    path("<int:pk>/preflight/", preflight.preflight, name="preflight"),
    path("<int:pk>/outside/", preflight.outside, name="outside"),
    path("<int:pk>/launch/", steering.launch, name="launch"),
    path("<int:pk>/leave-out/", steering.leave_out, name="leave_out"),
    path("<int:pk>/include-all/", steering.include_all, name="include_all"),
    path("<int:pk>/unschedule/", steering.unschedule, name="unschedule"),
    path("<int:pk>/pause/", steering.pause, name="pause"),
    path("<int:pk>/resume/", steering.resume, name="resume"),
    path("<int:pk>/resume/<slug:provider>/", steering.resume_provider, name="resume_provider"),
    path("<int:pk>/cancel/", steering.cancel, name="cancel"),
    path("<int:pk>/duplicate/", campaigns.duplicate, name="duplicate"),
    path("<int:pk>/resend/", campaigns.resend, name="resend"),
    path("<int:pk>/delete/", campaigns.delete, name="delete"),
    path("<int:pk>/deliveries/", deliveries.deliveries, name="deliveries"),
    path("<int:pk>/deliveries/retry-unknown/", steering.retry_unknown, name="retry_unknown"),
    path("<int:pk>/deliveries/<int:contact_pk>/retry/", deliveries.retry, name="retry"),
]
