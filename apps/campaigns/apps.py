from django.apps import AppConfig


class CampaignsConfig(AppConfig):
    name = "apps.campaigns"
    verbose_name = "Campaigns"

    def ready(self) -> None:
        from apps.campaigns import people as ours
        from apps.mailer import people

        people.register(timeline=ours.timeline, eraser=ours.erase)
