"""What the scene needs of the service's own code, run with its settings in a process of its own.

`workspace SLUG` makes one with an audience and the sink for its relay, and prints how many rows a
sending process takes at a time. `campaign SLUG SUBJECT` launches one to everybody and prints its
id.
"""

from __future__ import annotations

import argparse
import os
import sys

from core.local.runtime import BASE_DIR

CONNECTIONS = 5


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos.prepare", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("workspace")
    one.add_argument("slug")
    one.add_argument("--recipients", type=int, required=True)
    one.add_argument("--port", type=int, required=True)
    one.add_argument("--messages-a-connection", type=int, required=True)
    one = commands.add_parser("campaign")
    one.add_argument("slug")
    one.add_argument("subject")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")
    import django

    django.setup()
    if options.command == "campaign":
        print(launch(options.slug, options.subject))
        return 0
    make_workspace(options.slug, options.recipients, options.port, options.messages_a_connection)
    from apps.campaigns.services.sending.slices import GROUP

    print(GROUP)
    return 0


def launch(slug: str, subject: str) -> int:
    from apps.accounts.models import Workspace
    from apps.campaigns.services.campaigns import create_campaign
    from apps.campaigns.services.launch import launch_campaign

    workspace = Workspace.objects.get(slug=slug)
    campaign = create_campaign(
        workspace=workspace,
        by=None,
        subject=subject,
        from_email="news@sandbox.test",
        html=(BASE_DIR / "samples" / "letter.html").read_text(),
        lists=workspace.lists.all(),
    )
    launch_campaign(campaign=campaign, by=None)
    return campaign.pk


def make_workspace(slug: str, recipients: int, port: int, messages_a_connection: int) -> None:
    from apps.accounts.services import open_account
    from apps.mailer.models import Contact, ContactList, ListMember
    from apps.senders.models import Relay, SendingPolicy

    workspace = open_account(
        email=owner_of(slug), password=os.environ["ACCOUNT_PASSWORD"], workspace_name=slug
    )
    everybody = ContactList.objects.create(workspace=workspace, name="Everybody")
    contacts = Contact.objects.bulk_create(
        (
            Contact(
                workspace=workspace,
                email=f"person.{number}@inbox.sandbox.test",
                first_name=f"Person {number}",
                status="subscribed",
                verdict="valid",
                reason="mailbox_exists",
            )
            for number in range(recipients)
        ),
        batch_size=5000,
    )
    ListMember.objects.bulk_create(
        (ListMember(list=everybody, contact=contact) for contact in contacts), batch_size=5000
    )
    Relay.objects.create(
        workspace=workspace,
        name="Sink",
        host="127.0.0.1",
        port=port,
        security="none",
        max_connections=CONNECTIONS,
        max_messages=messages_a_connection,
    )
    # The runs refuse on purpose: no campaign may pause by itself because of it.
    SendingPolicy.objects.create(
        workspace=workspace,
        hard_bounce_percent=100,
        block_percent=100,
        complaint_percent=100,
        least_sample=2**31 - 1,
    )


def owner_of(slug: str) -> str:
    return f"{slug}@chaos.test"


if __name__ == "__main__":
    sys.exit(main())
