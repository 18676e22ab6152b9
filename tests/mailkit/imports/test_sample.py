"""The sample list: reproducible, and what it says it is."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from apps.sandbox.world import BEHAVIOURS, INBOX, recipient_behaviour
from mailkit.imports.readers import read_rows
from mailkit.imports.rows import ContactRow, map_row
from mailkit.imports.sniff import sniff
from mailkit.imports.suggest import suggest_mapping
from mailkit.imports.table import Row, Source

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "samples" / "contacts.csv"


def made(path: Path, *options: str) -> bytes:
    command = [sys.executable, "scripts/make_sample.py", "--out", str(path), *options]
    subprocess.run(command, cwd=ROOT, check=True)
    return path.read_bytes()


def test_committed_sample_is_what_the_script_writes(tmp_path: Path) -> None:
    assert made(tmp_path / "x") == SAMPLE.read_bytes()


@pytest.mark.parametrize("recipients", [0, 1, 7, 333, 4000])
def test_number_of_rows(tmp_path: Path, recipients: int) -> None:
    data = made(tmp_path / "x", "--recipients", str(recipients), "--seed", "5")
    assert data.count(b"\n") == recipients + 1
    assert made(tmp_path / "y", "--recipients", str(recipients), "--seed", "5") == data


def test_sample_has_every_kind_of_row() -> None:
    source = sniff(SAMPLE, name="contacts.csv")
    assert isinstance(source, Source)
    assert (source.delimiter, source.encoding) == (";", "utf-8")
    mapping = suggest_mapping(source.headers, source.sample)
    assert list(mapping.values()) == ["email", "first_name", "last_name", "gorod", "company"]
    rows = [row for row in read_rows(SAMPLE, source) if isinstance(row, Row)]
    assert len(rows) == 2000
    contacts = [map_row(row, mapping) for row in rows]
    emails = [contact.email for contact in contacts if isinstance(contact, ContactRow)]
    assert len(contacts) - len(emails) == 36
    assert len(emails) - len(set(emails)) == 44
    unique = {email: recipient_behaviour(*email.split("@")) for email in set(emails)}
    kinds = Counter(behaviour.domain for behaviour in unique.values())
    left_out = {"latebounce", "complain", "dropalways", "lost", "disabled", "denied", "policy"}
    left_out |= {"alias", "badmx"}
    assert set(kinds) == {row.domain for row in BEHAVIOURS if row.domain} - left_out
    assert 1680 <= kinds[INBOX.domain] <= 1750
    assert kinds["timeout"] + kinds["dnstimeout"] == 6
    assert len({email.partition("@")[2] for email in unique}) > 60
    assert all(email.endswith(".sandbox.test") for email in unique)
