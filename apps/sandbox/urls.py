from django.urls import path

from apps.sandbox import views

app_name = "sandbox"
urlpatterns = [
    path("", views.inbox, name="inbox"),
    path("newer-than/<int:newest>/", views.fresh, name="fresh"),
    path("addresses/", views.addresses, name="addresses"),
    path("clear/", views.clear, name="clear"),
    path("<int:pk>/", views.message, name="message"),
    path("<int:pk>/html/", views.html, name="html"),
    path("<int:pk>/source/", views.source, name="source"),
]
