"""Preflight of a campaign with variants: each letter is checked, and findings name theirs."""

from __future__ import annotations

import pytest

from apps.accounts.models import User, Workspace
from apps.campaigns import preflight
from apps.campaigns.models import Campaign, Variant
from apps.campaigns.services import outside
from apps.campaigns.services.launch import launch_campaign
from apps.mailer.models import Contact
from apps.senders.models import Relay
from core.errors import InvalidInput
from tests.apps.campaigns.pages import ClientOf, State, url
from tests.apps.campaigns.tested import make_tested

ADDRESS = "{{ postal_address }}"
WITHOUT_ADDRESS = '<p>News</p> <a href="{{ unsubscribe_url }}">No more</a>'
PLAIN = f"<p>News {ADDRESS}</p>"


@pytest.fixture
def campaign(workspace: Workspace) -> Campaign:
    """A: nothing to mend; B: A with another subject; C: an http link and an unknown field."""
    workspace.postal_address = "1 Main St"
    workspace.save()
    return make_tested(
        workspace,
        2,
        {"subject": "Other"},
        {"html": f'<a href="http://shop.test/">shop</a> {{{{ citty }}}} {ADDRESS}'},
        subject="News",
        html=PLAIN,
        text="",
    )


def found(campaign: Campaign) -> dict[str, tuple[str, ...]]:
    return {one.code: one.variants for one in preflight.notices(campaign)}


def test_findings_name_their_variants(campaign: Campaign) -> None:
    by_code = {one.code: one for one in preflight.notices(campaign)}
    assert found(campaign) == {"unknown_fields": ("C",), "http_links": ("C",)}
    assert str(by_code["http_links"].sentence).startswith("Variant C: Links without encryption")
    assert by_code["http_links"].url == url(campaign, "variants/3/")
    # What is in all letters is about the campaign.
    campaign.workspace.postal_address = ""
    campaign.workspace.save()
    assert found(Campaign.objects.get())["no_postal_address"] == ()


def test_what_some_letters_share_is_said_once(campaign: Campaign) -> None:
    Contact.objects.update(first_name="")
    Campaign.objects.update(subject="{{ first_name }}, news", html=WITHOUT_ADDRESS)
    campaign.refresh_from_db()
    assert found(campaign)["postal_address_unused"] == ("A", "B")
    by_code = {one.code: one for one in preflight.notices(campaign)}
    assert str(by_code["postal_address_unused"].sentence).startswith("Variants A, B: ")
    assert by_code["postal_address_unused"].url == url(campaign, "edit/")
    # C has the campaign's subject.
    assert found(campaign)["empty_field"] == ("A", "C")


def test_a_sender_of_a_variant_is_checked(campaign: Campaign, workspace: Workspace) -> None:
    Relay.objects.create(workspace=workspace, name="Relay", host="mx.test", port=25)
    Variant.objects.filter(number=2).update(from_email="shop@gmail.com")
    codes = [(one.code, one.variants) for one in preflight.notices(campaign)]
    assert ("free_sender", ("B",)) in codes
    assert ("free_sender", ("A", "C")) not in codes


def test_what_is_known_of_one_variant_is_not_yet_of_another(
    campaign: Campaign, owner: User, client_of: ClientOf
) -> None:
    page = client_of(owner).get(url(campaign, "preflight/")).content.decode()
    assert 'value="unknown_fields-C"' in page
    with pytest.raises(InvalidInput, match="Variant C: No contact has these fields: citty"):
        launch_campaign(campaign=campaign, by=owner, acknowledged=["unknown_fields"])
    Variant.objects.filter(number=2).update(subject="{{ citty }} {{ towwn }}")
    campaign.refresh_from_db()
    with pytest.raises(InvalidInput, match=r"Variant B: .*towwn"):
        launch_campaign(campaign=campaign, by=owner, acknowledged=["unknown_fields-C"])
    both = ["unknown_fields-C", "unknown_fields-B"]
    launch_campaign(campaign=campaign, by=owner, acknowledged=both)
    campaign.refresh_from_db()
    assert campaign.state != State.DRAFT


def test_no_variant_goes_without_a_way_out(campaign: Campaign, owner: User) -> None:
    hidden = '{% if secret %}<a href="{{ unsubscribe_url }}">x</a>{% endif %}<p>Hi</p>'
    Variant.objects.filter(number=3).update(html=hidden)
    for acknowledged in (None, ["no_unsubscribe", "no_unsubscribe-C"]):
        with pytest.raises(InvalidInput, match=r"Variant C: .*no link to unsubscribe"):
            launch_campaign(campaign=campaign, by=owner, acknowledged=acknowledged)


def test_the_links_of_all_variants_are_asked(campaign: Campaign) -> None:
    Variant.objects.filter(number=3).update(html='<a href="http://127.0.0.1:9/c">c</a>')
    Campaign.objects.update(html=f'<a href="http://127.0.0.1:9/a">a</a> {ADDRESS}')
    campaign.refresh_from_db()
    outside.look(campaign.pk)
    notices = preflight.outside_notices(campaign) or []
    links = [one for one in notices if one.code == "dead_links"]
    assert {(one.variants, one.words) for one in links} == {
        (("A", "B"), ("http://127.0.0.1:9/a",)),
        (("C",), ("http://127.0.0.1:9/c",)),
    }
