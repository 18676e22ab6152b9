"""The audience: contacts, lists, suppression, imports and verification."""

from apps.mailer.models.contacts import Contact, ContactField, ContactList, ListMember, Verdict
from apps.mailer.models.imports import Import, ImportedContact, RejectedRow, RememberedMapping
from apps.mailer.models.suppression import Suppression
from apps.mailer.models.verification import DomainFact, Verification

__all__ = [
    "Contact",
    "ContactField",
    "ContactList",
    "DomainFact",
    "Import",
    "ImportedContact",
    "ListMember",
    "RejectedRow",
    "RememberedMapping",
    "Suppression",
    "Verdict",
    "Verification",
]
