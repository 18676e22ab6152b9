from django.apps import AppConfig


class ReturnsConfig(AppConfig):
    name = "apps.returns"
    verbose_name = "Returns"

    def ready(self) -> None:
        from apps.mailer import people
        from apps.returns import people as ours

        people.register(timeline=ours.timeline, eraser=ours.erase)
