"""README.md against the code that it describes."""

from __future__ import annotations

import re

import pytest
from django.core.management import get_commands

from core.local.runtime import BASE_DIR
from core.local.stack import POOLS

README = (BASE_DIR / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [BASE_DIR / "README.md", *sorted((BASE_DIR / "docs").glob("*.md"))]
_READS = re.compile(r"""(?:environ(?:\.get\(|\[)|environment\.\w+\()\s*["']([A-Z_]+)["']""")


def variables_read() -> set[str]:
    """The environment variables that the code reads, PATH aside."""
    files = [*(BASE_DIR / "core").rglob("*.py"), *(BASE_DIR / "apps").rglob("*.py")]
    found = {name for file in files for name in _READS.findall(file.read_text())}
    found |= {f"{queue.upper()}_CONCURRENCY" for queue in POOLS}
    # A command asks for a password; the service does not read it.
    return found - {"PATH", "DJANGO_SETTINGS_MODULE", "ACCOUNT_PASSWORD"}


def test_the_table_has_every_variable_and_no_other() -> None:
    section = README.partition("## Configuration")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `([A-Z_]+)` \|", section, flags=re.MULTILINE)
    assert sorted(listed) == sorted(set(listed))
    assert set(listed) == variables_read()


def test_every_make_target_and_command_exists() -> None:
    makefile = (BASE_DIR / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        assert set(re.findall(r"`?make ([a-z][a-z-]+)\b(?=[`\n ]*)", code_of(text))) <= targets
        assert set(re.findall(r"manage\.py ([a-z_]+)", text)) <= set(get_commands())


def code_of(text: str) -> str:
    """The parts set as code: `make` is an ordinary word elsewhere."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, flags=re.DOTALL))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), target
