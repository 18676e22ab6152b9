from django.apps import AppConfig


class SendersConfig(AppConfig):
    name = "apps.senders"
    verbose_name = "Senders"
