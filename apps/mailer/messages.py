"""What codes of imports and verification mean, in a person's words."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

FILE_FAULTS = {
    "empty_file": gettext_lazy("The file is empty."),
    "no_header": gettext_lazy(
        "The first line must name the columns, for example: Email, First name, Last name."
    ),
    "unreadable_encoding": gettext_lazy(
        "The text could not be read: choose its encoding, or save the file as UTF-8."
    ),
    "not_a_table": gettext_lazy(
        "This is not a contact table: upload CSV, TXT, XLSX, XLS, ODS, JSON or VCF."
    ),
    "nul_bytes": gettext_lazy("The file holds NUL bytes: save it again as CSV in UTF-8."),
    "too_many_columns": gettext_lazy("The file has more than 1,000 columns."),
    "line_too_long": gettext_lazy(
        "A line is longer than 1 MB: the file is damaged or has no line ends."
    ),
    "legacy_xls": gettext_lazy("This Excel file is of before 1995: save it as .xlsx or CSV."),
    "encrypted_xlsx": gettext_lazy("The workbook is protected by a password: remove it first."),
    "damaged_xlsx": gettext_lazy("The workbook is damaged: open it, save it again and retry."),
    "too_large_xlsx": gettext_lazy(
        "The workbook is too large or has cells far apart: save the sheet as CSV."
    ),
    "damaged_json": gettext_lazy(
        "The JSON breaks off or is not well-formed: export it again and upload the new file."
    ),
    "damaged_archive": gettext_lazy(
        "The archive is damaged or not complete: pack it again, or upload the file unpacked."
    ),
    "encrypted_archive": gettext_lazy(
        "The archive is protected by a password: upload the file unpacked."
    ),
    "too_large_archive": gettext_lazy(
        "The archive unpacks to too much: upload the file unpacked, in parts if it is large."
    ),
    "nested_archive": gettext_lazy(
        "There is another archive in the archive: unpack it and upload the table itself."
    ),
    "no_table_in_archive": gettext_lazy("There is no contact table in the archive."),
    "file_missing": gettext_lazy("The uploaded file is gone from the server: upload it again."),
}

REJECTS = {
    "no_email": gettext_lazy("No email address in the row"),
    "wrong_cell_count": gettext_lazy("The row has more or fewer cells than the header"),
    "broken_quote": gettext_lazy("A quotation mark is opened and never closed"),
    "bad_encoding": gettext_lazy("The row holds bytes that are not text"),
    "nul_bytes": gettext_lazy("The row holds NUL bytes"),
    "line_too_long": gettext_lazy("The line is longer than 1 MB"),
    "bad_json": gettext_lazy("Not a JSON object"),
    "bad_address": gettext_lazy("Not an email address"),
}

ADDRESS_FAULTS = {
    "empty": gettext_lazy("it is empty"),
    "no_at": gettext_lazy("there is no @"),
    "many_at": gettext_lazy("there is more than one @"),
    "local_empty": gettext_lazy("nothing stands before the @"),
    "local_too_long": gettext_lazy("the part before the @ is too long"),
    "bad_local": gettext_lazy(
        "the part before the @ holds characters or dots that cannot stand there"
    ),
    "domain_empty": gettext_lazy("nothing stands after the @"),
    "bad_domain": gettext_lazy("the part after the @ is not a domain name"),
    "too_long": gettext_lazy("it is too long"),
    "control_character": gettext_lazy("it holds an invisible control character"),
    "ip_literal": gettext_lazy("it names an IP address in place of a domain"),
}

VERDICTS = {
    "valid": gettext_lazy("The mailbox exists: mail it."),
    "risky": gettext_lazy("Mail may arrive, but it bounces or annoys more often than others."),
    "invalid": gettext_lazy("Mail cannot arrive; campaigns leave the address out."),
    "unknown": gettext_lazy("Nobody could tell; that is no sign that the address is bad."),
}

REASONS = {
    "mailbox_exists": gettext_lazy(
        "The mail server accepts this mailbox and refuses a made-up one."
    ),
    "confirmed": gettext_lazy("The person confirmed by mail that the address is theirs."),
    "catch_all": gettext_lazy(
        "The domain accepts any address, so nobody can tell whether this mailbox exists."
    ),
    "catch_all_unknown": gettext_lazy(
        "The server accepts the address; whether it accepts any address could not be learnt."
    ),
    "mailbox_full": gettext_lazy(
        "The mailbox exists but is full, often a sign that nobody reads it."
    ),
    "role": gettext_lazy("The address belongs to a group such as info@; complaints are likelier."),
    "disposable": gettext_lazy(
        "A throw-away mailbox: its owner will hardly read a second letter there."
    ),
    "possible_typo": gettext_lazy(
        "The domain is a known misspelling of a large provider's, so the mail reaches a stranger."
    ),
    "bad_local_part": gettext_lazy(
        "The provider never handed out such a name: the part before the @ breaks its rules."
    ),
    "bad_syntax": gettext_lazy("The address is not written correctly."),
    "no_mx": gettext_lazy("The domain does not exist or has no mail server."),
    "null_mx": gettext_lazy("The domain states that it accepts no mail."),
    "bad_mx": gettext_lazy("The domain's mail records point to nothing that could take mail."),
    "mailbox_not_found": gettext_lazy("The mail server says that there is no such mailbox."),
    "servfail": gettext_lazy("The domain's name servers failed; we will check again."),
    "timeout": gettext_lazy("The mail server did not answer in time; we will check again."),
    "connection_failed": gettext_lazy(
        "No mail server of the domain took a connection; we will check again."
    ),
    "greylisted": gettext_lazy("The server asks unknown senders to come back later; we will."),
    "temporary_failure": gettext_lazy("The server has a temporary problem; we will check again."),
    "probe_blocked": gettext_lazy(
        "The server refuses our check, which says nothing about the mailbox."
    ),
    "unclear_reply": gettext_lazy("The server refused, in words that may mean anything."),
    "provider_not_probed": gettext_lazy(
        "The domain accepts mail; this provider gives no true answers about mailboxes, so we do "
        "not ask it."
    ),
    "not_probed": gettext_lazy("The domain accepts mail; the mailbox itself was not checked."),
}


def file_fault_text(code: str, line: int | None, detail: str) -> str:
    """One or two sentences about a file that cannot be read, with the line where it is known."""
    text = str(FILE_FAULTS.get(code) or _("The file could not be read."))
    if code == "not_a_table" and detail:
        text = (
            _("The file is not what it seems (%(format)s found).") % {"format": detail} + " " + text
        )
    if line:
        text += " " + _("Line %(line)d.") % {"line": line}
    return text


def reject_text(reason: str) -> str:
    """Why a row was rejected: `no_email`, `bad_address:no_at` and their like."""
    kind, _colon, detail = reason.partition(":")
    text = str(REJECTS.get(kind, reason))
    if detail in ADDRESS_FAULTS:
        return f"{text}: {ADDRESS_FAULTS[detail]}"
    return text


def reason_text(reason: str) -> str | Promise:
    """One sentence on what a verification found."""
    return REASONS.get(reason, reason)


def verdict_text(verdict: str) -> str | Promise:
    """One sentence on what a verdict means for a mailing."""
    return VERDICTS.get(verdict, verdict)
