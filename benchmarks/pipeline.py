"""Audiences, campaigns and their launch, by the services that the web app calls."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path

from django.db import connection

from apps.accounts.models import Membership, User, Workspace
from apps.campaigns import selectors
from apps.campaigns.models import Campaign
from apps.campaigns.services import launch
from apps.campaigns.services.campaigns import create_campaign
from apps.mailer.models import Contact, ContactField, ContactList
from apps.sandbox.models import Message
from apps.senders.models import DkimKey, Relay
from apps.senders.services.domains import add_domain
from benchmarks.support import BenchError, Sink

LETTER = (Path(__file__).parent / "letter.html").read_text(encoding="utf-8")
SUBJECT = "{{ first_name }}, three books are waiting for you"
SENDER = "news@plain.bench.test"
SIGNED_SENDER = "news@signed.bench.test"
TRACKED_LINKS = 5
SAMPLE = 100
STANDSTILL_SECONDS = 120

_FIRST_NAMES = (
    "Anna Boris Clara Daniel Elena Felix Greta Hugo Irina Jonas Katya Leo Maria Nadia Oscar Paula "
    "Roman Sofia Tomas Vera Анна Борис Вера Галина Дмитрий Елена Зоя Иван Кирилл Лариса Мария "
    "Николай Ольга Павел Светлана Тимур Ульяна Фёдор Эльвира Юлия"
)
_LAST_NAMES = (
    "Adler Brandt Castillo Dvorak Ekberg Fischer Garcia Holm Ivanova Jansen Keller Lindqvist "
    "Moreau Novak Olsen Petrenko Rossi Schmidt Tanaka Ullman Алексеева Белова Власов Громов "
    "Дорохина Ершов Жуков Зайцева Котов Лебедева Морозов Никитин Орлова Петров Рябова Соколов"
)
# The ten merge fields, each with its values; `%s` stands for the number of the contact.
FIELDS: dict[str, Sequence[str]] = {
    "city": ("Lübeck", "Porto", "Riga", "Казань", "Bergen", "Trieste", "Псков", "Cork"),
    "store": ("Quay Street", "the Old Market", "Lindenallee", "улице Мира", "Station Road"),
    "bookseller": ("Marta", "Ilya", "Johanna", "Пётр", "Claire", "Beppe"),
    "points": ("%s",),
    "level": ("Reader", "Regular", "Friend of the house"),
    "coupon": ("AUTUMN-%s",),
    "coupon_ends": ("31 October", "7 November", "15 November"),
    "last_title": ("The Ice Road", "Мастер и Маргарита", "Salt & Honey", "A Map of Small Rivers"),
    "genre": ("novels", "crime", "cookery", "history", "poetry", "nature"),
    "event_day": ("Tuesday the 14th", "Thursday the 16th", "Friday the 24th"),
}


def make_workspace(name: str, *, sink: Sink | None, connections: int = 10) -> Workspace:
    """A workspace that sends to the sink; None: to the sandbox, as one without a relay does."""
    workspace = Workspace.objects.create(name=name, slug=name)
    owner = User.objects.create_user(f"{name}@bench.test", None, name="Bench")
    Membership.objects.create(workspace=workspace, user=owner, role=Membership.Role.OWNER)
    for key in FIELDS:
        ContactField.objects.create(workspace=workspace, key=key, label=key)
    if sink:
        Relay.objects.create(
            workspace=workspace, host="127.0.0.1", port=sink.port, security=Relay.Security.NONE,
            max_connections=connections,
        )  # fmt: skip
    return workspace


def sign_with_rsa(workspace: Workspace) -> None:
    """An RSA-2048 key for the domain of SIGNED_SENDER; SENDER's own has none."""
    owner = Membership.objects.get(workspace=workspace, role=Membership.Role.OWNER)
    domain = add_domain(workspace=workspace, by=owner, name=SIGNED_SENDER.partition("@")[2])
    # No DNS has the domain's records: this is what the check does once it has seen them.
    domain.keys.filter(algorithm=DkimKey.Algorithm.RSA).update(active=True)


def make_list(
    workspace: Workspace, size: int, *, name: str = "", columns: Mapping[str, str] | None = None
) -> ContactList:
    """A list of `size` new contacts, all valid, made by two statements.

    `columns`: SQL for more of their columns, by the number `n` of the contact.
    """
    target = ContactList.objects.create(workspace=workspace, name=name or f"{size} readers")
    model = Contact.objects.create(
        workspace=workspace, email=f"model.{target.pk}@mail.bench.test", verdict="valid",
        reason="mailbox_exists",
    )  # fmt: skip
    # Every other column as the model's defaults have it.
    values = {
        "email": f"'reader.{target.pk}.' || n || '@mail' || n %% 50 || '.bench.test'",
        "first_name": _one_of(_FIRST_NAMES.split()),
        "last_name": _one_of(_LAST_NAMES.split(), spread=len(_FIRST_NAMES.split())),
        "fields": "jsonb_build_object({})".format(
            ", ".join(f"'{key}', {_one_of(choices)}" for key, choices in FIELDS.items())
        ),
    } | dict(columns or {})
    names = [
        str(field.column)
        for field in Contact._meta.local_concrete_fields
        if not field.primary_key and not field.generated
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH made AS (
                INSERT INTO mailer_contact ({", ".join(names)})
                SELECT {", ".join(values.get(column, f"model.{column}") for column in names)}
                FROM mailer_contact model, generate_series(1, %s) n
                WHERE model.id = %s
                RETURNING id
            )
            INSERT INTO mailer_listmember (list_id, contact_id) SELECT %s, id FROM made
            """,
            [size, model.pk, target.pk],
        )
        # As autovacuum would have done by the time that a real list is mailed.
        for table in ("mailer_contact", "mailer_listmember"):
            cursor.execute(f"ANALYZE {table}")
    model.delete()
    return target


def _one_of(choices: Sequence[str], *, spread: int = 1) -> str:
    """SQL for a value that follows from `n`."""
    texts = ["'{}'".format(choice.replace("'", "''")) for choice in choices]
    chosen = f"(ARRAY[{', '.join(texts)}])[1 + (n / {spread}) % {len(texts)}]".replace("%", "%%")
    if choices[0].endswith("%s"):
        prefix = choices[0].removesuffix("%s")
        return f"'{prefix}' || n"
    return chosen


def make_campaign(target: ContactList, *, sender: str = SENDER) -> Campaign:
    return create_campaign(
        workspace=target.workspace, by=None, name=f"Autumn letter to {target.name}",
        subject=SUBJECT, from_name="Harbour Books", from_email=sender, html=LETTER, lists=[target],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sent:
    """A finished campaign. `seconds` from the launch to the last letter's answer."""

    campaign: Campaign
    messages: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.messages / self.seconds


def start(target: ContactList, *, sender: str = SENDER) -> Campaign:
    """Launch a new campaign as the button does."""
    campaign = make_campaign(target, sender=sender)
    launch.launch_campaign(campaign=campaign, by=None)
    return campaign


def send(target: ContactList, *, sender: str = SENDER) -> Sent:
    """Launch a new campaign and wait until it is finished and every letter accepted."""
    return wait(start(target, sender=sender))


def wait(campaign: Campaign) -> Sent:
    """Raises BenchError where letters were not accepted or nothing moves any more."""
    moved_at, last = time.monotonic(), -1
    looked_at = 0.0
    while True:
        campaign.refresh_from_db()
        if campaign.state == Campaign.State.FINISHED:
            break
        now = time.monotonic()
        if now - looked_at > 10:
            looked_at, final = now, _final(campaign)
            if final != last:
                moved_at, last = now, final
        if not campaign.in_motion or now - moved_at > STANDSTILL_SECONDS:
            raise BenchError(f"a campaign stands still: {_story(campaign)}")
        time.sleep(0.1)
    sent = selectors.status_counts(campaign)["sent"]
    if sent != campaign.audience or not sent:
        raise BenchError(f"not every letter was accepted: {_story(campaign)}")
    assert campaign.launched_at
    assert campaign.finished_at
    seconds = (campaign.finished_at - campaign.launched_at).total_seconds()
    return Sent(campaign, sent, seconds)


def wait_until_prepared(campaign: Campaign) -> None:
    """Until its audience is in the ledger."""
    deadline = time.monotonic() + 600
    while True:
        campaign.refresh_from_db()
        if campaign.state not in {Campaign.State.DRAFT, Campaign.State.PREPARING}:
            return
        if time.monotonic() > deadline:
            raise BenchError(f"a campaign was not prepared in ten minutes: {_story(campaign)}")
        time.sleep(0.05)


def wait_until_moving(campaign: Campaign, letters: int) -> None:
    """Until so many of its letters were accepted."""
    deadline = time.monotonic() + 600
    while selectors.status_counts(campaign)["sent"] < letters:
        if time.monotonic() > deadline:
            raise BenchError(f"a campaign is not being sent: {_story(campaign)}")
        time.sleep(0.5)


def _final(campaign: Campaign) -> int:
    return selectors.progress(campaign).final


def _story(campaign: Campaign) -> str:
    counts = {name: count for name, count in selectors.status_counts(campaign).items() if count}
    words = f"{campaign.state} {campaign.pause_reason} {counts}"
    return f"{words} {list(selectors.failure_reasons(campaign))[:3]}"


# The letter itself, as it arrives.


@dataclass(frozen=True, slots=True)
class Letter:
    """What the sandbox received: the mean size in octets, and what is missing in the letters."""

    octets: int
    header_octets: int
    missing: tuple[str, ...]


def sample(workspace: Workspace, *, sender: str = SENDER) -> Letter:
    """Send to the sandbox, which keeps the letters, and read them.

    `workspace` has no relay. Raises BenchError where letters are lost or doubled there.
    """
    target = make_list(workspace, SAMPLE, name=f"sample of {sender}")
    campaign = send(target, sender=sender).campaign
    letters = [
        bytes(data)
        for data in Message.objects.filter(
            inbox=str(workspace.pk), message_id__startswith=f"<{campaign.pk}."
        ).values_list("data", flat=True)
    ]
    identities = {message_from_bytes(letter)["Message-ID"] for letter in letters}
    if len(letters) != SAMPLE or len(identities) != SAMPLE:
        raise BenchError(
            f"{SAMPLE} letters sent, {len(letters)} arrived, {len(identities)} different ones"
        )
    reader = Contact.objects.filter(lists=target).latest("pk")
    missing = {fault for letter in letters for fault in _missing(letter, signed=sender != SENDER)}
    own = next(
        letter for letter in letters if reader.email in str(message_from_bytes(letter)["To"])
    )
    missing |= {
        f"the value of {name}"
        for name, value in {**reader.fields, "first_name": reader.first_name}.items()
        if str(value).replace("&", "&amp;") not in _html(own)
    }
    heads = sum(letter.index(b"\r\n\r\n") + 4 for letter in letters)
    return Letter(
        sum(map(len, letters)) // len(letters), heads // len(letters), tuple(sorted(missing))
    )


def _missing(data: bytes, *, signed: bool) -> list[str]:
    letter, html = message_from_bytes(data), _html(data)
    wanted = {
        "List-Unsubscribe": "List-Unsubscribe" in letter,
        "List-Unsubscribe-Post": "List-Unsubscribe-Post" in letter,
        "tracked links": "https://books.example/" not in html and html.count("<a ") > TRACKED_LINKS,
        "open pixel": "<img" in html,
        "all fields merged": "{{" not in html,
    }
    if signed:
        wanted["DKIM-Signature"] = "a=rsa-sha256" in (letter["DKIM-Signature"] or "")
    return [name for name, there in wanted.items() if not there]


def _html(data: bytes) -> str:
    part = message_from_bytes(data, policy=policy.default).get_body(("html",))
    return str(part.get_content()) if part else ""
