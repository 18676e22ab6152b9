from django.apps import AppConfig


class TrackingConfig(AppConfig):
    name = "apps.tracking"
    verbose_name = "Tracking"

    def ready(self) -> None:
        from apps.mailer import people
        from apps.tracking import people as ours

        people.register(eraser=ours.erase)
