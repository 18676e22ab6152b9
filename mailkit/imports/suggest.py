"""What each column of a file most likely holds, by its header and its values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from .kinds import FieldKind, suggest_kind
from .rows import MAX_KEY, TARGETS, field_key

# Of two headers that mean the same the earlier one here is the surer.
_HEADERS = {
    "email": (
        "email|email address|адрес электронной почты|электронная почта|эл почта|э почта|емейл|"
        "емэйл|имейл|имэйл|емайл|емаил|мейл|мэйл|адрес email|email адрес|электронный адрес|"
        "эл адрес|электронка|адрес эл почты|ящик|почтовый ящик|адрес почты|почта|mail|"
        "mail address|email id|mailbox|emails|eaddress|электронный почтовый адрес"
    ),
    "first_name": (
        "first name|fname|firstname|given name|forename|имя|first|given|christian name|"
        "имя отчество|имя и отчество|имена|name"
    ),
    "last_name": (
        "last name|lname|lastname|surname|family name|фамилия|second name|last|family|фам|"
        "familiya|фамилии"
    ),
}
# Headers of one line mean the same: a file's column goes to the field that the workspace has.
_SAME = """
full name|fullname|name and surname|фио|ф и о|полное имя|имя фамилия|имя и фамилия|фамилия имя|фамилия имя отчество|фамилия и имя
middle name|patronymic|отчество
phone|phone number|telephone|tel|mobile|mobile phone|cell|cell phone|whatsapp|телефон|тел|номер телефона|моб|мобильный|мобильный телефон|моб телефон|сотовый|контактный телефон
city|town|city name|locality|город|населенный пункт|нас пункт|город проживания
country|country name|страна|государство
region|state|province|county|oblast|регион|область|край|республика
address|street|street address|postal address|адрес|улица|адрес доставки|почтовый адрес
postcode|post code|zip|zip code|postal code|индекс|почтовый индекс
birthday|birth date|birthdate|date of birth|dob|bday|born|дата рождения|день рождения|др|д р|родился
age|возраст
gender|sex|пол
company|company name|organization|organisation|employer|firm|компания|организация|название компании|фирма|предприятие|место работы|работодатель
position|job title|title|job|role|occupation|должность|профессия|позиция
website|site|web|url|homepage|сайт|веб сайт|адрес сайта
tags|labels|categories|тег|теги|метки|категории
comment|comments|note|notes|remark|remarks|комментарий|комментарии|примечание|примечания|заметка|заметки
language|lang|locale|язык
amount|sum|total|сумма|итого
telegram|tg|телеграм|телеграмм|тг
"""  # noqa: E501 (a line a meaning)
# Words around a header's meaning: `Введите ваш e-mail`, `Имя клиента`.
_LITTLE = frozenset(
    """
a an the your my our user users customer customers client clients contact contacts person
recipient recipients subscriber subscribers member buyer billing work business personal home
primary main preferred default current enter please type of for field
ваш ваша ваше ваши мой моя мое наш введите укажите напишите пожалуйста клиент клиента клиентов
контакт контакта контактное контактная контактный покупатель покупателя подписчик подписчика
пользователь пользователя получатель получателя сотрудник сотрудника участник участника заказчик
заказчика рабочий рабочая рабочее личный личная личное основной основная основное домашний
домашняя для поле на
""".split()  # noqa: SIM905 (words in a list of their own lines would fill a page)
)
_MOST = 0.5
_ADDRESS = re.compile(r"[^@\s,;<>]@[^@\s,;<>]+\.[^@\s.,;<>]")
_WORD = re.compile(r"[^\W_]+")


def suggest_mapping(
    headers: Sequence[str],
    sample: Sequence[Sequence[str]],
    known: Mapping[str, str] | None = None,
) -> dict[int, str]:
    """Column index to `email`, `first_name`, `last_name` or a custom field's key.

    Every column gets a target and no two the same. English and Russian headers are known; the
    e-mail column is one where most values are addresses, whatever it is called, or else the one
    that is called so. `known` has the label of each custom field by its key: columns of the same
    meaning go there. Other keys are `[a-z][a-z0-9_]*` of at most 40 characters.
    """
    mapping: dict[int, str] = {}
    email = _email_column(headers, sample)
    if email is not None:
        mapping[email] = "email"
    for target in ("first_name", "last_name"):
        ranks = {
            index: rank
            for index, header in enumerate(headers)
            if index not in mapping and (rank := _rank(header, target)) is not None
        }
        if ranks:
            mapping[min(ranks, key=lambda index: ranks[index])] = target
    mapping |= _known_fields(headers, mapping, known or {})
    taken = {*TARGETS, *mapping.values()}
    for index, header in enumerate(headers):
        if index not in mapping:
            mapping[index] = _unique(field_key(header) or f"column_{index + 1}", taken)
            taken.add(mapping[index])
    return dict(sorted(mapping.items()))


def suggest_field_kind(header: str, values: Sequence[str]) -> FieldKind:
    """The kind of a new field: telephones and postcodes are text even where all are numbers."""
    sense = meaning(header)
    if sense is not None and sense in _CODES:
        return "text"
    if sense == _MEANINGS["birthday"] and not any(map(str.strip, values)):
        return "date"
    return suggest_kind(values)


def meaning(header: str) -> int | None:
    """Which of the meanings we know a header has: equal numbers mean the same."""
    return next((_MEANINGS[form] for form in _forms(header) if form in _MEANINGS), None)


def _known_fields(
    headers: Sequence[str], mapped: Mapping[int, str], known: Mapping[str, str]
) -> dict[int, str]:
    """Columns of the workspace's fields: those of the same name first, then of the same meaning."""
    by_name = {_squeezed(label): key for key, label in known.items()}
    by_name |= {_squeezed(key): key for key in known}
    by_meaning: dict[int, str] = {}
    for key, label in known.items():
        sense = meaning(label)
        if sense is None:
            sense = meaning(key)
        if sense is not None:
            by_meaning.setdefault(sense, key)
    found: dict[int, str] = {}
    for way in ("name", "meaning"):
        for index, header in enumerate(headers):
            if index in mapped or index in found:
                continue
            if way == "name":
                field = by_name.get(_squeezed(header)) or by_name.get(_squeezed(field_key(header)))
            else:
                sense = meaning(header)
                field = None if sense is None else by_meaning.get(sense)
            if field and field not in found.values():
                found[index] = field
    return found


def _squeezed(header: str) -> str:
    return "".join(_WORD.findall(header.casefold().replace("ё", "е")))


def _forms(header: str) -> list[str]:
    """The header squeezed: whole, without what is in brackets, without words that say little."""
    bare = re.sub(r"\(.*?\)|\[.*?\]", " ", header)
    words = _WORD.findall(bare.casefold().replace("ё", "е"))
    telling = [word for word in words if word not in _LITTLE and not word.isdecimal()]
    forms = (_squeezed(header), "".join(words), "".join(telling))
    return list(filter(None, dict.fromkeys(forms)))


def _rank(header: str, target: str) -> int | None:
    """How sure it is that a header means the target, the surest 0; None where it does not."""
    names = _NAMES[target]
    for step, form in enumerate(_forms(header)):
        if form in names:
            return step * len(names) + names[form]
    return None


_NAMES = {
    target: {_squeezed(header): rank for rank, header in enumerate(headers.split("|"))}
    for target, headers in _HEADERS.items()
}
_MEANINGS = {
    _squeezed(form): number
    for number, line in enumerate(_SAME.strip().splitlines())
    for header in line.split("|")
    for form in (header, field_key(header))
}
_CODES = {_MEANINGS["phone"], _MEANINGS["postcode"]}


def _email_column(headers: Sequence[str], sample: Sequence[Sequence[str]]) -> int | None:
    best: tuple[bool, bool, float, int] | None = None
    for index, header in enumerate(headers):
        share = _share_of_addresses(row[index] for row in sample if index < len(row))
        rank = _rank(header, "email")
        if rank is not None or share > _MOST:
            score = (share > _MOST, rank is not None, share if rank is None else -rank, -index)
            best = score if best is None else max(best, score)
    return None if best is None else -best[3]


def _share_of_addresses(cells: Iterable[str]) -> float:
    filled = [cell for cell in cells if cell.strip()]
    return sum(map(bool, map(_ADDRESS.search, filled))) / len(filled) if filled else 0.0


def _unique(key: str, taken: set[str]) -> str:
    candidate, count = key, 1
    while candidate in taken:
        count += 1
        suffix = f"_{count}"
        candidate = key[: MAX_KEY - len(suffix)].rstrip("_") + suffix
    return candidate
