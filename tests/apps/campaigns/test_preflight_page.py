from __future__ import annotations

import pytest
from django.core.cache import cache

from apps.accounts.models import Membership, User, Workspace
from apps.accounts.services import change_workspace
from apps.campaigns import letters, preflight
from apps.campaigns.models import Campaign
from apps.campaigns.services import outside, sender
from apps.campaigns.services.launch import launch_campaign
from apps.mailer.models import ContactField
from apps.senders.models import Relay
from core.errors import InvalidInput, NotAllowed
from tests.apps.campaigns.pages import ClientOf, State, url
from tests.support.factories import make_campaign, make_contact, make_list

pytestmark = pytest.mark.django_db

JSON = {"accept": "application/json"}


@pytest.fixture
def campaign(workspace: Workspace) -> Campaign:
    target = make_list(workspace)
    make_contact(workspace, to=target, first_name="Anna")
    make_contact(workspace, to=target)
    make_contact(workspace, to=target, status="unsubscribed")
    return make_campaign(workspace, target)


@pytest.fixture
def real_relay(workspace: Workspace) -> Relay:
    return Relay.objects.create(workspace=workspace, name="Relay", host="mx.test", port=25)


def codes(campaign: Campaign) -> list[str]:
    return [one.code for one in preflight.notices(campaign)]


def test_empty_fields_are_counted_over_those_who_get_it(
    campaign: Campaign, workspace: Workspace
) -> None:
    workspace.postal_address = "1 Main St"
    workspace.save()
    assert codes(campaign) == ["empty_field"]
    (notice,) = preflight.notices(campaign)
    assert (notice.code, notice.level) == ("empty_field", "advisory")
    assert "“first_name” has no default and is empty for some (recipients: 1)" in str(
        notice.sentence
    )
    assert notice.url.endswith(f"/campaigns/{campaign.pk}/edit/")
    campaign.html = campaign.text = campaign.subject = '{{ first_name | default: "you" }}'
    assert not preflight.notices(campaign)


def test_fields_of_contacts_and_unknown_ones(campaign: Campaign, workspace: Workspace) -> None:
    ContactField.objects.create(workspace=workspace, key="city", label="City")
    campaign.subject = campaign.text = "News"
    campaign.html = "<p>{{ city }} {{ citty }} {{ postal_address }}</p>"
    found = {one.code: one for one in preflight.notices(campaign)}
    assert "“city” has no default and is empty for some (recipients: 2)" in str(
        found["empty_field"].sentence
    )
    assert found["unknown_fields"].blocking
    assert "citty → city" in str(found["unknown_fields"].sentence)


def test_no_letter_goes_without_a_way_out(campaign: Campaign, owner: User) -> None:
    campaign.html = '{% if secret %}<a href="{{ unsubscribe_url }}">x</a>{% endif %}<p>Hi</p>'
    campaign.save()
    for acknowledged in (None, ["no_unsubscribe"]):
        with pytest.raises(InvalidInput, match="no link to unsubscribe"):
            launch_campaign(campaign=campaign, by=owner, acknowledged=acknowledged)
    campaign.refresh_from_db()
    assert campaign.state == State.DRAFT


def test_what_blocks_can_be_acknowledged(
    campaign: Campaign, owner: User, client_of: ClientOf, real_relay: Relay
) -> None:
    client = client_of(owner)
    page = client.get(url(campaign, "preflight/")).content.decode()
    assert 'value="no_postal_address"' in page
    assert "/w/shop/settings/" in page
    form = {"version": campaign.updated_at.isoformat(), "when": "now"}
    refused = client.post(url(campaign, "launch/"), form)
    assert refused.status_code == 422
    assert "no postal address" in refused.content.decode()
    client.post(url(campaign, "launch/"), form | {"acknowledge": ["no_postal_address"]})
    campaign.refresh_from_db()
    assert campaign.state != State.DRAFT


def test_without_a_relay_it_is_advice(campaign: Campaign, owner: User, client_of: ClientOf) -> None:
    assert "no_postal_address" in codes(campaign)
    form = {"version": campaign.updated_at.isoformat(), "when": "now"}
    client_of(owner).post(url(campaign, "launch/"), form)
    campaign.refresh_from_db()
    assert campaign.state != State.DRAFT


def test_senders_at_free_providers(campaign: Campaign, real_relay: Relay) -> None:
    assert "free_sender" not in codes(campaign)
    campaign.from_email = "shop@gmail.com"
    assert "free_sender" in codes(campaign)


def test_the_postal_address_ends_the_letter(campaign: Campaign, workspace: Workspace) -> None:
    campaign.text = ""
    workspace.postal_address = "1 Main St, <Springfield>"
    workspace.save()
    shown = letters.preview(campaign, None)
    assert "<p>1 Main St, &lt;Springfield&gt;</p>" in shown.html
    assert "1 Main St, <Springfield>\nUnsubscribe" in shown.text
    assert "no_postal_address" not in codes(campaign)
    campaign.html = '<a href="{{ unsubscribe_url }}">x</a>'
    assert "postal_address_unused" in codes(campaign)


def test_large_letters(campaign: Campaign) -> None:
    campaign.html = "<p>" + "many words " * 11_000 + "</p>"
    assert "clipped" in codes(campaign)


def test_everybody_of_the_workspace_sees_it(
    campaign: Campaign, owner: User, teammate: User, outsider: User, client_of: ClientOf
) -> None:
    for page in ("preflight/", "outside/"):
        assert client_of(owner).get(url(campaign, page)).status_code == 200
        assert client_of(teammate).get(url(campaign, page)).status_code == 200
        assert client_of(outsider).get(url(campaign, page)).status_code == 404
    launch = client_of(owner).get(url(campaign, "launch/")).content.decode()
    assert url(campaign, "preflight/") in launch


def test_a_letter_with_a_mistake_says_so_elsewhere(
    campaign: Campaign, owner: User, client_of: ClientOf
) -> None:
    Campaign.objects.filter(pk=campaign.pk).update(html="{{ a b }}")
    page = client_of(owner).get(url(campaign, "preflight/"))
    assert page.status_code == 200
    assert "outside/" not in page.content.decode()
    assert client_of(owner).get(url(campaign, "outside/")).status_code == 200


def test_links_are_asked_by_a_worker(
    campaign: Campaign, owner: User, client_of: ClientOf, real_relay: Relay
) -> None:
    Campaign.objects.filter(pk=campaign.pk).update(
        html='<a href="http://127.0.0.1:9/x">x</a><a href="http://[::1]/">y</a>'
    )
    campaign.refresh_from_db()
    assert outside.asked(campaign) is None
    page = client_of(owner).get(url(campaign, "outside/")).content.decode()
    assert "load delay:2s" in page
    dead = ("", "dead_links", "blocking", 1, ["http://127.0.0.1:9/x"])
    cache.set(outside._key(campaign), [dead])
    found = client_of(owner).get(url(campaign, "outside/")).content.decode()
    assert "Links that lead nowhere (1): http://127.0.0.1:9/x" in found
    assert 'value="dead_links"' in found
    with pytest.raises(InvalidInput, match="lead nowhere"):
        launch_campaign(campaign=campaign, by=owner, acknowledged=["no_postal_address"])


def test_what_the_world_says_is_kept_for_this_letter(campaign: Campaign) -> None:
    Campaign.objects.filter(pk=campaign.pk).update(html='<a href="http://127.0.0.1:9/x">x</a>')
    outside.look(campaign.pk)
    campaign.refresh_from_db()
    assert "dead_links" in [one.code for _name, one in outside.asked(campaign) or []]
    campaign.html = '<a href="http://127.0.0.1:9/y">x</a>'
    assert outside.known(campaign) == []
    outside.look(0)


def test_who_waits_is_told_when_the_world_cannot_be_asked(
    campaign: Campaign, owner: User, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_resolver(*_args: object) -> list[object]:
        raise OSError("no resolver")

    monkeypatch.setattr(sender, "findings", no_resolver)
    assert outside.asked(campaign) is None
    outside.look(campaign.pk)
    page = client_of(owner).get(url(campaign, "outside/")).content.decode()
    assert "could not be looked at" in page
    assert url(campaign, "launch/") in page
    assert "load delay" not in page


def test_owners_change_the_workspace(
    workspace: Workspace, owner: User, teammate: User, outsider: User, client_of: ClientOf
) -> None:
    form = {"name": " My  shop ", "postal_address": "1 Main St"}
    page = "/w/shop/settings/"
    assert client_of(outsider).get(page).status_code == 404
    assert client_of(teammate).get(page).status_code == 200
    assert client_of(teammate).post(page, form, headers=JSON).status_code == 403
    assert client_of(owner).post(page, {"name": ""}).status_code == 422
    assert client_of(owner).post(page, form).status_code == 302
    workspace.refresh_from_db()
    assert (workspace.name, workspace.postal_address) == ("My shop", "1 Main St")
    member = Membership.objects.get(user=outsider)
    with pytest.raises(NotAllowed):
        change_workspace(workspace=workspace, by=member, name="x", postal_address="")
    with pytest.raises(InvalidInput):
        change_workspace(
            workspace=workspace,
            by=Membership.objects.get(user=owner),
            name="x",
            postal_address="x" * 301,
        )


def test_saving_names_fields_that_do_not_exist(
    campaign: Campaign, owner: User, client_of: ClientOf
) -> None:
    form = {
        "name": "News",
        "html": "<p>Hi</p>\n{{ frist_name }} {{ zzz }}",
        "version": campaign.updated_at.isoformat(),
    }
    page = client_of(owner).post(url(campaign, "edit/"), form, follow=True).content.decode()
    assert "“frist_name” (line 2): did you mean “first_name”?" in page
    assert "“zzz” (line 2)." in page
