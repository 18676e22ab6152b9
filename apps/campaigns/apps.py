from django.apps import AppConfig
from django.db.models.signals import pre_delete


class CampaignsConfig(AppConfig):
    name = "apps.campaigns"
    verbose_name = "Campaigns"

    def ready(self) -> None:
        from apps.campaigns import people as ours
        from apps.campaigns import pictures as shown
        from apps.campaigns import segments  # noqa: F401 (registers its conditions)
        from apps.campaigns.services import targets
        from apps.content.services import pictures
        from apps.mailer import people
        from apps.mailer.models import ContactList, Segment

        pictures.register_used_in(shown.used_in)
        people.register(timeline=ours.timeline, eraser=ours.erase)
        pre_delete.connect(targets.keep_segment, sender=Segment)
        pre_delete.connect(targets.keep_list, sender=ContactList)
