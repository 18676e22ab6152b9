"""docs/sender-rules.md: each rule has a test that exists."""

from __future__ import annotations

import re

from core.local.runtime import BASE_DIR

PAGE = (BASE_DIR / "docs" / "sender-rules.md").read_text(encoding="utf-8")
PROVIDERS = set("GYOMX")


def rules() -> list[list[str]]:
    """The rows of the tables: rule, providers, how it is kept, test."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.splitlines()
        if line.startswith("| ")
    ]
    return [row for row in rows if row[0] != "rule"]


def test_every_rule_names_its_providers_and_a_test_that_exists() -> None:
    assert len(rules()) > 20
    for row in rules():
        rule, of, kept, proof = row
        assert set(of.split()) <= PROVIDERS, rule
        assert kept, rule
        found = re.fullmatch(r"`(tests/[a-z0-9_/]+\.py)::(test_\w+)`", proof)
        assert found, rule
        source = (BASE_DIR / found[1]).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {found[2]}\(", source, re.MULTILINE), proof


def test_every_provider_has_rules_and_a_source() -> None:
    named = {one for row in rules() for one in row[1].split()}
    assert named == PROVIDERS
    for name in ("Gmail", "Yahoo", "Outlook.com", "Mail.ru", "Yandex"):
        assert re.search(rf"^- {re.escape(name)}: ", PAGE, re.MULTILINE), name
