"""What an address says by itself, before anyone is asked."""

from __future__ import annotations

# RFC 2142's mailbox names, and the names that companies commonly hand to a group of people.
_ROLES = """
    abuse accounting accounts admin administrator all billing bookings careers compliance contact
    contactus customercare customerservice dev devnull dns enquiries enquiry events everyone
    feedback finance ftp hello help helpdesk hostmaster hr info information inquiries inquiry
    investors invoice invoices it jobs legal list mail mailer-daemon mailerdaemon marketing media
    news newsletter no-reply noc noreply office operations ops order orders partners payments
    postmaster pr press privacy purchasing recruiting recruitment registrar reservations root
    sales secretary security service services shop spam staff support sysadmin team tech
    unsubscribe usenet uucp webadmin webmaster www
"""
ROLE_LOCALS = frozenset(_ROLES.split())


def is_role_account(local: str) -> bool:
    """Whether a local part names a function rather than a person (`sales`, `Info+list`).

    A subaddress (RFC 5233: all from the first `+`) does not count.
    """
    return local.partition("+")[0].lower() in ROLE_LOCALS
