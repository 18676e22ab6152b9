from django.urls import path

from apps.tracking import report_views, views

app_name = "tracking"
urlpatterns = [
    path("", views.dashboard, name="dashboard"),
    path("now/", views.dashboard_now, name="dashboard_now"),
    path("reports/", report_views.reports, name="reports"),
    path("reports/<int:pk>/", report_views.report, name="report"),
    path("reports/<int:pk>/live/", report_views.report_live, name="report_live"),
    path("reports/<int:pk>/click-map/", report_views.click_map, name="click_map"),
    path("reports/<int:pk>/send-again/", report_views.send_again, name="send_again"),
    path("reports/<int:pk>/share/", report_views.share, name="share"),
    path("reports/<int:pk>/files/<slug:table>.csv", report_views.as_csv, name="report_csv"),
    path(
        "reports/<int:pk>/files/recipients.xlsx",
        report_views.recipients_workbook,
        name="recipients_xlsx",
    ),
    path("reports/<int:pk>/files/report.xlsx", report_views.as_workbook, name="report_xlsx"),
]
