from django.apps import AppConfig


class ReturnsConfig(AppConfig):
    name = "apps.returns"
    verbose_name = "Returns"
