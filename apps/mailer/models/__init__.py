"""The audience: contacts, lists, suppression, imports and verification."""

from apps.mailer.models.consent import LeavingReason, Signup, SignupForm
from apps.mailer.models.contacts import (
    Contact,
    ContactEdit,
    ContactField,
    ContactList,
    ListMember,
    SearchText,
    Verdict,
)
from apps.mailer.models.imports import Import, ImportedContact, RejectedRow, RememberedMapping
from apps.mailer.models.jobs import BulkJob
from apps.mailer.models.segments import Segment
from apps.mailer.models.suppression import Suppression
from apps.mailer.models.verification import DomainFact, Verification

__all__ = [
    "BulkJob",
    "Contact",
    "ContactEdit",
    "ContactField",
    "ContactList",
    "DomainFact",
    "Import",
    "ImportedContact",
    "LeavingReason",
    "ListMember",
    "RejectedRow",
    "RememberedMapping",
    "SearchText",
    "Segment",
    "Signup",
    "SignupForm",
    "Suppression",
    "Verdict",
    "Verification",
]
