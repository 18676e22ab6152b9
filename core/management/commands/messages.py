"""`manage.py messages`: keep the translations in step with the source; `--check` only looks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages import extract as babel
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po, write_po
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation.template import templatize

# The calls that name a message: position of its text, its plural and (c) its context.
KEYWORDS: dict[str, Any] = {
    "gettext": None,
    "gettext_lazy": None,
    "_": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
FOLDERS = ("core", "apps", "templates")
TEMPLATES = {".html", ".txt"}
# Without dates and names, which would change with every run.
HEADER = """\
# Translations of VashSender. `python manage.py messages` keeps them in step with the source.
msgid ""
msgstr ""
"Language: {language}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: {plural_forms}\\n"

"""
_PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%[a-z%]|\{\w*\}")


class Command(BaseCommand):
    help = "Extract translatable text into locale/*/LC_MESSAGES/django.po, or check what lacks."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="write nothing; exit 1 if a catalogue is not done"
        )

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        source = extract(Path(settings.BASE_DIR))
        languages = [code for code, _name in settings.LANGUAGES if code != settings.LANGUAGE_CODE]
        faults: list[str] = []
        for language in languages:
            path = Path(settings.LOCALE_PATHS[0]) / language / "LC_MESSAGES" / "django.po"
            catalogue = read(path, language)
            if not check:
                catalogue = merged(source, catalogue)
                write(path, catalogue)
            found = faults_of(source, catalogue)
            faults += [f"{language}: {fault}" for fault in found]
            self.stdout.write(f"{language}: {len(source)} messages, {len(found)} not done")
        for fault in faults:
            self.stdout.write(fault)
        if check and faults:
            raise CommandError("Run `python manage.py messages`, then translate what is listed.")


def extract(root: Path) -> Catalog:
    """All translatable text below `root`, with the names of the files where it stands."""
    catalogue = Catalog(charset="utf-8")
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix == ".py" or path.suffix in TEMPLATES:
                name = path.relative_to(root).as_posix()
                for text, context in messages_in(path.read_text(encoding="utf-8"), name):
                    catalogue.add(text, locations=[(name, 0)], context=context)
    return catalogue


def messages_in(source: str, name: str) -> Iterator[tuple[str | tuple[str, ...], str | None]]:
    """Each (text or (singular, plural), context) in one file's source."""
    if not name.endswith(".py"):
        # What templatize leaves of a template is calls between words of X and B; indented
        # as the template is, it would be no Python.
        lines = templatize(source, origin=name).splitlines()
        source = "\n".join(line.strip() for line in lines)
    found = babel.extract("python", BytesIO(source.encode()), KEYWORDS)
    for _line, text, _comments, context in found:
        yield text, context


def read(path: Path, language: str) -> Catalog:
    if not path.exists():
        return Catalog(locale=language)
    with path.open("rb") as file:
        return read_po(file, locale=language)


def merged(source: Catalog, translated: Catalog) -> Catalog:
    """The messages of the source with the translations they have; no guesses for the others."""
    result = Catalog(locale=translated.locale, charset="utf-8")
    for message in _messages(source):
        known = translated.get(message.id, message.context)
        is_usable = known is not None and isinstance(known.id, str) == isinstance(message.id, str)
        result.add(
            message.id,
            known.string if known is not None and is_usable else None,
            locations=message.locations,
            flags=known.flags & {"fuzzy"} if known is not None else (),
            context=message.context,
        )
    return result


def write(path: Path, catalogue: Catalog) -> None:
    buffer = BytesIO()
    write_po(buffer, catalogue, width=100, omit_header=True, sort_output=True, include_lineno=False)
    header = HEADER.format(language=catalogue.locale, plural_forms=catalogue.plural_forms)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header.encode() + buffer.getvalue())


def faults_of(source: Catalog, translated: Catalog) -> list[str]:
    """What keeps a catalogue from being complete, a line for each message."""
    faults = []
    for message in _messages(source):
        known = translated.get(message.id, message.context)
        fault = _fault_of(message, known, translated.num_plurals)
        if fault:
            faults.append(f"{fault}: {_shown(message)}")
    for known in _messages(translated):
        if source.get(known.id, known.context) is None:
            faults.append(f"stale: {_shown(known)}")
    return faults


def _fault_of(message: Message, known: Message | None, plurals: int) -> str:
    if known is None or isinstance(known.id, str) != isinstance(message.id, str):
        return "missing"
    forms = [known.string] if isinstance(known.string, str) else list(known.string or ())
    if not forms or not all(forms):
        return "missing"
    if known.fuzzy:
        return "fuzzy"
    if isinstance(message.id, tuple) and len(forms) != plurals:
        return f"needs {plurals} plural forms"
    # "One row" may leave the number out in English; a form that stands for 21 and 31 may not.
    longest = message.id if isinstance(message.id, str) else message.id[-1]
    expected = set(_PLACEHOLDER.findall(longest))
    if any(set(_PLACEHOLDER.findall(form)) != expected for form in forms):
        return "placeholders differ"
    return ""


def _messages(catalogue: Catalog) -> Iterator[Message]:
    """Without the header, which Babel keeps as the message of the empty text."""
    return (message for message in catalogue if message.id)


def _shown(message: Message) -> str:
    text = message.id if isinstance(message.id, str) else message.id[0]
    places = ", ".join(name for name, _line in message.locations[:2])
    return f"{text!r} ({places})" if places else repr(text)
