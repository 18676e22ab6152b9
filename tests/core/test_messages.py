from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from babel.messages.mofile import write_mo
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from core.management.commands.messages import faults_of, merged, messages_in, read, write

PAGE = """
{% load ui %}
<div>
    <h1>{% trans "Contacts" %}</h1>
      {% if x %}{% translate 'A "quoted" word' %}{% endif %}
  {{ _("In a variable") }} {% include "x.html" with title=_("In a tag") %}
  {% blocktrans trimmed count counter=n with number=n|intcomma %}
    {{ number }} row
    is in
  {% plural %}
    {{ number }} rows
    are in
  {% endblocktrans %}
  {% trans "May" context "month" %} 100% {# {% trans "Commented out" %} #}
</div>
"""
ROWS = "{% blocktrans count n=n %}{{ n }} row{% plural %}{{ n }} rows{% endblocktrans %}"


def found(source: str, name: str) -> set[tuple[str | tuple[str, ...], str | None]]:
    return set(messages_in(source, name))


def test_what_a_template_says() -> None:
    assert found(PAGE, "page.html") == {
        ("Contacts", None),
        ('A "quoted" word', None),
        ("In a variable", None),
        ("In a tag", None),
        (("%(number)s row is in", "%(number)s rows are in"), None),
        ("May", "month"),
    }


def test_what_python_says() -> None:
    source = (
        'a = _("One")\nb = gettext_lazy(\n    "Two "\n    "lines"\n)\n'
        'c = ngettext("%(n)d row", "%(n)d rows", n)\nd = pgettext("verb", "Open")\n'
        "e = _(variable)\nf = other('Not this')\n"
    )
    assert found(source, "a.py") == {
        ("One", None),
        ("Two lines", None),
        (("%(n)d row", "%(n)d rows"), None),
        ("Open", "verb"),
    }


@pytest.fixture
def tree(tmp_path: Path, settings: LazySettings) -> Path:
    """A source tree of its own, with the Russian catalogue beside it."""
    for folder in ("core", "apps", "templates"):
        (tmp_path / folder).mkdir()
    settings.BASE_DIR = tmp_path
    settings.LOCALE_PATHS = [tmp_path / "locale"]
    return tmp_path


def say(tree: Path, text: str) -> Path:
    (tree / "templates" / "page.html").write_text(text)
    return tree / "locale" / "ru" / "LC_MESSAGES" / "django.po"


def check() -> str:
    """What `messages --check` says; raises CommandError if the catalogue is not done."""
    output = StringIO()
    call_command("messages", "--check", stdout=output)
    return output.getvalue()


def faults(tree: Path) -> list[str]:
    output = StringIO()
    with pytest.raises(CommandError):
        call_command("messages", "--check", stdout=output)
    return output.getvalue().splitlines()[1:]


def translate(path: Path, text: str, *forms: str) -> None:
    catalogue = read(path, "ru")
    message = catalogue.get(text)
    assert message is not None
    message.string = forms if len(forms) > 1 else forms[0]
    write(path, catalogue)


def test_a_translation_outlives_the_next_extraction(tree: Path) -> None:
    path = say(tree, '{% trans "Contacts" %}')
    call_command("messages", stdout=StringIO())
    assert faults(tree) == ["ru: missing: 'Contacts' (templates/page.html)"]
    translate(path, "Contacts", "Контакты")
    check()
    say(tree, '{% trans "Contacts" %}{% trans "Lists" %}')
    call_command("messages", stdout=StringIO())
    assert faults(tree) == ["ru: missing: 'Lists' (templates/page.html)"]
    translate(path, "Lists", "Списки")
    check()
    say(tree, '{% trans "Lists" %}')
    assert faults(tree) == ["ru: stale: 'Contacts' (templates/page.html)"]
    call_command("messages", stdout=StringIO())
    check()


def test_two_extractions_write_the_same_bytes(tree: Path) -> None:
    path = say(tree, PAGE)
    call_command("messages", stdout=StringIO())
    first = path.read_bytes()
    call_command("messages", stdout=StringIO())
    assert path.read_bytes() == first


def test_the_check_writes_nothing(tree: Path) -> None:
    path = say(tree, '{% trans "Contacts" %}')
    faults(tree)
    assert not path.exists()


@pytest.mark.parametrize(
    "wrong", ["контакт", "%(nubmer)s контактов", "%(number)d контактов", "%(number)s %(x)s"]
)
def test_a_wrong_placeholder_is_found(tree: Path, wrong: str) -> None:
    path = say(tree, "{% blocktrans %}{{ number }} contacts{% endblocktrans %}")
    call_command("messages", stdout=StringIO())
    translate(path, "%(number)s contacts", wrong)
    assert faults(tree)[0].startswith("ru: placeholders differ")


def test_every_plural_form_is_needed(tree: Path) -> None:
    path = say(
        tree, "{% blocktrans count n=n %}{{ n }} row{% plural %}{{ n }} rows{% endblocktrans %}"
    )
    call_command("messages", stdout=StringIO())
    translate(path, "%(n)s row", "%(n)s строка", "%(n)s строки", "")
    assert "missing" in faults(tree)[0]
    translate(path, "%(n)s row", "одна строка", "%(n)s строки", "%(n)s строк")
    assert "placeholders differ" in faults(tree)[0]
    translate(path, "%(n)s row", "%(n)s строка", "%(n)s строки", "%(n)s строк")
    check()


def test_a_fuzzy_translation_is_not_done(tree: Path) -> None:
    path = say(tree, '{% trans "Contacts" %}')
    call_command("messages", stdout=StringIO())
    translate(path, "Contacts", "Контакты")
    path.write_text(path.read_text().replace("#: templates", "#, fuzzy\n#: templates"))
    assert faults(tree) == ["ru: fuzzy: 'Contacts' (templates/page.html)"]


def test_a_message_that_becomes_plural_is_translated_anew(tree: Path) -> None:
    path = say(tree, "{% blocktrans %}{{ n }} row{% endblocktrans %}")
    call_command("messages", stdout=StringIO())
    translate(path, "%(n)s row", "%(n)s строка")
    say(tree, ROWS)
    call_command("messages", stdout=StringIO())
    assert "missing" in faults(tree)[0]


def test_the_catalogue_compiles(tree: Path) -> None:
    path = say(tree, PAGE)
    call_command("messages", stdout=StringIO())
    with (tree / "out.mo").open("wb") as compiled:
        write_mo(compiled, read(path, "ru"))
    assert (tree / "out.mo").stat().st_size > 0


def test_a_catalogue_without_plural_trouble_is_merged_with_its_contexts(tree: Path) -> None:
    path = say(tree, '{% trans "May" context "month" %}{% trans "May" %}')
    call_command("messages", stdout=StringIO())
    catalogue = read(path, "ru")
    for context, text in (("month", "май"), (None, "можно")):
        message = catalogue.get("May", context)
        assert message is not None
        message.string = text
    again = merged(catalogue, catalogue)
    assert faults_of(catalogue, again) == []
    assert again.get("May", "month").string == "май"  # type: ignore[union-attr]
