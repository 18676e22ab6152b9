"""Letters of variants: what differs in them, their links, and a campaign sent with them."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.campaigns import letters, tokens, variants
from apps.campaigns.models import Campaign, CampaignLink, Delivery, TestSend, Variant
from apps.campaigns.online import letter_online
from apps.campaigns.services import launch, monitoring, testing
from apps.campaigns.services.sending import batches
from core.errors import InvalidInput
from mailkit.machines import HONEYPOT_LINK
from tests.apps.campaigns.letters_out import parsed, send_all
from tests.apps.campaigns.rows import statuses
from tests.apps.campaigns.tested import by_variant, contacts_of, make_tested, prepared
from tests.support.engagement import note_open
from tests.support.sandbox import Sandbox

State = Campaign.State
HTML = '<p><a href="https://shop.test/{}">one</a> <a href="https://shop.test/all">all</a></p>'
CLICK = re.compile(r"/c/([A-Za-z0-9._-]+)")


def followed(html: str) -> list[tuple[int, str]]:
    """(number, target) of the tracked links, as the redirect finds them."""
    found = []
    for token in CLICK.findall(html):
        read = tokens.read(tokens.Kind.CLICK, token)
        assert read
        if read[2] == HONEYPOT_LINK:
            continue
        link = CampaignLink.objects.get(campaign_id=read[0], number=read[2])
        found.append((link.number, link.url))
    return found


def body_of(letter: EmailMessage, kind: str = "html") -> str:
    body = letter.get_body((kind,))
    assert body
    return str(body.get_content())


def made(campaign: Campaign, variant: int) -> EmailMessage:
    contact = contacts_of(campaign)[0]
    message = letters.compiled(campaign, variant).letter(
        contact.pk, contact.email, {"first_name": "Anna"}, date=timezone.now()
    )
    return parsed(re.sub(rb"(?m)^\.\.", b".", message.stuffed))


def test_each_variant_has_its_own_and_the_rest_of_the_campaign(workspace: Workspace) -> None:
    campaign = make_tested(
        workspace,
        1,
        {"subject": "For you, {{ first_name }}"},
        {"from_name": "Olga", "from_email": "olga@inbox.sandbox.test"},
        {"html": "<p>Quite another letter</p>"},
        html=HTML.format("spring"),
        text="The text of the campaign",
    )
    found = {one: made(campaign, one) for one in (1, 2, 3, 4)}
    assert [found[n]["subject"] for n in found] == [
        "News for Anna", "For you, Anna", "News for Anna", "News for Anna"
    ]  # fmt: skip
    assert found[3]["from"].addresses[0].addr_spec == "olga@inbox.sandbox.test"
    assert found[1]["from"].addresses[0].addr_spec == "news@inbox.sandbox.test"
    bodies = {n: body_of(found[n], "plain") for n in found}
    assert "The text of the campaign" in bodies[1] == bodies[2] == bodies[3]
    # Its text says what its HTML says.
    assert "Quite another letter" in bodies[4]
    assert "campaign" not in bodies[4]
    # One recipient of one campaign: the Message-ID does not tell the variant.
    assert len({found[n]["message-id"] for n in found}) == 1


def test_a_number_leads_to_one_address_in_all_variants(workspace: Workspace) -> None:
    campaign = prepared(
        make_tested(
            workspace,
            2,
            {"subject": "Other"},
            {"html": HTML.format("summer")},
            {"html": HTML.format("all")},
            share=100,
            html=HTML.format("spring"),
        )
    )
    found = {n: followed(body_of(made(campaign, n))) for n in range(1, 5)}
    assert found[1] == found[2] == [(1, "https://shop.test/spring"), (2, "https://shop.test/all")]
    assert found[3] == [(3, "https://shop.test/summer"), (2, "https://shop.test/all")]
    assert found[4] == [(2, "https://shop.test/all"), (4, "https://shop.test/all")]
    assert CampaignLink.objects.filter(campaign=campaign).count() == 4


def test_the_page_of_a_letter_shows_the_variant_that_was_sent(workspace: Workspace) -> None:
    campaign = make_tested(
        workspace, 2, {"html": "<p>Quite another letter</p>"}, share=100, view_online=True
    )
    rows = dict(Delivery.objects.filter(campaign=prepared(campaign)).values_list("variant", "pk"))
    pages = {variant: letter_online(tokens.sign_view(*key)) or "" for variant, key in rows.items()}
    assert [number for number, page in pages.items() if "Quite another" in page] == [2]
    assert "Hello" in pages[1]


def test_without_variants_the_letter_is_that_of_before(workspace: Workspace) -> None:
    campaign = make_tested(workspace, 1, html=HTML.format("spring"))
    Campaign.objects.update(test_share=None)
    campaign.refresh_from_db()
    assert list(letters.compiled_variants(campaign)) == [0]
    assert letters.compiled(campaign) is letters.compiled_variants(campaign)[0]
    with pytest.raises(InvalidInput):
        letters.compiled(campaign, 2)


def test_letters_are_compiled_once(workspace: Workspace) -> None:
    campaign = make_tested(workspace, 1, {"subject": "Other"}, html=HTML.format("spring"))
    assert letters.compiled(campaign, 2) is letters.compiled(campaign, 2)
    assert letters.compiled(campaign, 1) is not letters.compiled(campaign, 2)


def test_too_many_links_together_are_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_tested(
        workspace, 1, {"html": HTML.format("summer")}, html=HTML.format("spring")
    )
    monkeypatch.setattr(tokens, "MOST_LINKS", 2)
    with pytest.raises(InvalidInput):
        letters.compiled(campaign, 1)


def test_links_are_numbered_by_address_and_time() -> None:
    links, numbers = variants.number_links([["a", "b", "a"], ["b"], [], ["a", "a", "a"]])
    assert links == ("a", "b", "a", "a")
    assert numbers == [(1, 2, 3), (2,), (), (1, 3, 4)]


def test_a_test_send_of_a_variant(workspace: Workspace, owner: User, sandbox: Sandbox) -> None:
    campaign = make_tested(workspace, 1, {"subject": "Other {{ first_name }}"})
    test = testing.send_test(campaign=campaign, to="me@inbox.sandbox.test", by=owner, variant=2)
    testing.send_test_letter(test.pk)
    test.refresh_from_db()
    assert test.state == TestSend.State.SENT
    assert parsed(sandbox.to("me@inbox.sandbox.test")[0].data)["subject"].startswith("Other ")
    with pytest.raises(InvalidInput):
        testing.send_test(campaign=campaign, to="me@inbox.sandbox.test", by=owner, variant=3)
    gone = TestSend.objects.create(campaign=campaign, to="me@inbox.sandbox.test", variant=4)
    testing.send_test_letter(gone.pk)
    gone.refresh_from_db()
    assert gone.state == TestSend.State.FAILED
    assert "variant" in gone.reply


@pytest.mark.parametrize(
    ("own", "share", "fields", "said"),
    [
        ({}, 20, {}, "Variant B: It does not differ from A"),
        ({"from_email": "a@elsewhere.test"}, 20, {}, "of the domain inbox.sandbox.test"),
        ({"subject": "{{ oops"}, 20, {}, "Variant B: Subject, line 1"),
        ({"subject": "Other"}, 20, {"track_opens": False}, "not counted"),
        ({"subject": "Other"}, 100, {"track_opens": False}, ""),
        ({"subject": "Other"}, 20, {"track_opens": False, "winner_by": "hand"}, ""),
        ({"subject": "Other"}, 20, {"winner_by": "clicks", "track_clicks": False}, "not counted"),
    ],
)
def test_what_has_to_be_mended_before_the_launch(
    workspace: Workspace, own: dict[str, str], share: int, fields: dict[str, Any], said: str
) -> None:
    campaign = make_tested(workspace, 1, own, share=share, **fields)
    found = " ".join(launch.problems(campaign))
    assert said in found
    assert bool(found) == bool(said)


@pytest.mark.django_db(transaction=True)
def test_a_whole_campaign_of_two_hundred(
    workspace: Workspace, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "ring_sending", lambda campaign_ids: None)
    campaign = make_tested(
        workspace,
        200,
        {"subject": "B for {{ first_name }}", "from_email": "b@inbox.sandbox.test"},
        {"html": HTML.format("c"), "subject": "C"},
        share=30,
        html=HTML.format("a"),
        subject="A",
        winner_after=60,
    )
    campaign = prepared(campaign)
    assert by_variant(campaign) == {0: 140, 1: 20, 2: 20, 3: 20}
    send_all(campaign)
    assert statuses(campaign) == {"waiting": 140, "sent": 60}
    assert not batches.send_batch(campaign.pk)
    subjects = Counter(str(parsed(one.data)["subject"])[:1] for one in sandbox.messages)
    assert subjects == {"A": 20, "B": 20, "C": 20}

    for row in Delivery.objects.filter(campaign=campaign, variant=3)[:9]:
        note_open(campaign.pk, row.contact_id)
    monitoring.sweep()
    campaign.refresh_from_db()
    assert campaign.tested_at
    Campaign.objects.update(tested_at=campaign.tested_at - timedelta(hours=2))
    monitoring.sweep()
    campaign.refresh_from_db()
    assert campaign.winner == 3
    send_all(campaign)
    campaign.refresh_from_db()
    assert campaign.state == State.FINISHED
    assert statuses(campaign) == {"sent": 200}
    assert by_variant(campaign) == {1: 20, 2: 20, 3: 160}
    assert len(sandbox.messages) == len({one.recipient for one in sandbox.messages}) == 200
    rows = dict(Delivery.objects.values_list("email", "variant"))
    for one in sandbox.messages:
        letter = parsed(one.data)
        assert str(letter["subject"])[:1] == Variant(number=rows[one.recipient]).name
        targets = [url for _n, url in followed(body_of(letter))]
        own = "c" if rows[one.recipient] == 3 else "a"
        assert targets == [f"https://shop.test/{own}", "https://shop.test/all"]
