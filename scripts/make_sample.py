"""Write samples/contacts.csv: a contact list as marketers have them, for the sandbox.

Every address is under `sandbox.test` and nobody's. About 85 rows of 100 are normal mailboxes; the
others are every kind of mailbox that the sandbox knows (docs/sandbox.md), repeated addresses and
broken rows. The same arguments always give the same file.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
from collections.abc import Iterator
from pathlib import Path

ROOT = "sandbox.test"
DEFAULT_OUT = Path(__file__).resolve().parent.parent / "samples" / "contacts.csv"
DEFAULT_RECIPIENTS = 2_000
DEFAULT_SEED = 1
HEADER = ["Email", "Имя", "Фамилия", "Город", "Company"]

# The local part's Latin to the name in the list.
FIRST_NAMES = {
    "anna": "Анна", "maria": "Мария", "olga": "Ольга", "elena": "Елена", "irina": "Ирина",
    "vera": "Вера", "daria": "Дарья", "ivan": "Иван", "pavel": "Павел", "oleg": "Олег",
    "anton": "Антон", "egor": "Егор", "timur": "Тимур", "roman": "Роман", "alice": "Alice",
    "emma": "Emma", "nora": "Nora", "ruby": "Ruby", "hazel": "Hazel", "ivy": "Ivy",
    "clara": "Clara", "oliver": "Oliver", "henry": "Henry", "oscar": "Oscar", "felix": "Felix",
    "hugo": "Hugo", "arthur": "Arthur",
}  # fmt: skip
RUSSIAN_LAST_NAMES = {
    "petrov": "Петров", "sidorov": "Сидоров", "kuznetsov": "Кузнецов", "orlov": "Орлов",
    "volkov": "Волков", "zimin": "Зимин", "lesnov": "Леснов", "ozerov": "Озеров",
    "vetrov": "Ветров", "snegov": "Снегов", "makarov": "Макаров", "belov": "Белов",
    "kamenev": "Каменев", "polev": "Полев", "sadov": "Садов", "rechnov": "Речнов",
    "tumanov": "Туманов", "zhukov": "Жуков",
}  # fmt: skip
ENGLISH_LAST_NAMES = [
    "Brook", "Carter", "Dale", "Ellison", "Fielding", "Hartley", "Kestrel", "Lockwood", "Marsh",
    "Norwood", "O'Hara", "Penrose", "Quill", "Redfern", "Stone", "Thorne", "Underhill",
    "Whitfield",
]  # fmt: skip
CITIES = [
    "Москва", "Казань", "Новосибирск", "Екатеринбург", "Нижний Новгород", "Ростов-на-Дону",
    "Пермь", "London", "Leeds", "Dublin", "Cork", "Bristol", "York", "Wells", "",
]  # fmt: skip
COMPANIES = [
    'ООО "Ромашка"',
    'АО "Северная звезда"',
    'ООО "Лес; Поле; Река"',
    "ИП Озеров",
    'Студия "Точка, точка, запятая"',
    "Brook & Penrose, Ltd",
    'The "Blue Door" Bakery',
    "Kestrel; Sons",
    "Marsh Tools",
    "",
    "",
]
BIG_DOMAINS = ["pochta", "webpost", "mailbox", "letters", "konvert"]
SMALL_DOMAINS = [
    "vega", "severnaya", "altair", "antares", "bereza", "bolero", "breeze", "cedar", "cobalt",
    "comet", "delfin", "dubrava", "ember", "fern", "fjord", "garnet", "granit", "harbor",
    "indigo", "iskra", "jasmin", "juniper", "kaskad", "kedr", "klever", "lagoon", "lazur",
    "lotos", "lumen", "magnolia", "malina", "meteor", "mira", "nebula", "neva", "oasis", "olivia",
    "onyx", "orbita", "parus", "pixel", "polyana", "quartz", "raduga", "rassvet", "rubin",
    "sapfir", "siren", "sosna", "talisman", "topaz", "tulip", "umbra", "vesna", "volna", "willow",
    "yantar", "zarya", "zenit", "zephyr",
]  # fmt: skip

# How many of 2,000 rows: a local part's word at a normal domain, or a domain of one kind.
# Left out are `dropalways`, which is tried again for a day, and `lost`, whose letters are unknown
# for good: with neither, everything sent can be found in the inbox.
WORDS = {
    "nosuch": 30, "full": 24, "grey": 24, "busy": 14, "drop": 16, "blocked": 4, "slow": 2,
}  # fmt: skip
DOMAINS = {
    "nosuch": 8, "full": 5, "grey": 6, "busy": 6, "drop": 6, "catchall": 24, "aonly": 12,
    "nullmx": 8, "nomx": 8, "nxdomain": 8, "servfail": 6, "timeout": 2, "dnstimeout": 2,
}  # fmt: skip
# Each of these keeps a worker waiting, so a longer list has no more of them.
WAITING = ("slow", "timeout", "dnstimeout")
REPEATED = 44
BROKEN = 36


class Maker:
    """Makes the rows of one list."""

    def __init__(self, recipients: int, seed: int) -> None:
        self.rng = random.Random(seed)
        self.recipients = recipients
        self.written: list[list[str]] = []
        self.taken: set[str] = set()

    def lines(self) -> Iterator[str]:
        """The header line and one line for each recipient."""
        yield _line(HEADER)
        broken = 0
        for kind, name in self._plan():
            if kind == "repeated" and self.written:
                row = self._again()
            elif kind == "broken":
                row = _break(self._person(kind, name), broken)
                broken += 1
            else:
                row = self._person(kind, name)
                self.written.append(row)
            yield _line(row)

    def _plan(self) -> list[tuple[str, str]]:
        counts = {("word", word): n for word, n in WORDS.items()}
        counts |= {("domain", domain): n for domain, n in DOMAINS.items()}
        counts |= {("repeated", ""): REPEATED, ("broken", ""): BROKEN}
        plan: list[tuple[str, str]] = []
        for (kind, name), count in counts.items():
            scaled = round(count * self.recipients / DEFAULT_RECIPIENTS)
            plan += [(kind, name)] * (min(count, scaled) if name in WAITING else scaled)
        plan += [("normal", "")] * (self.recipients - len(plan))
        self.rng.shuffle(plan)
        return plan

    def _person(self, kind: str, name: str) -> list[str]:
        latin, first = self.rng.choice(list(FIRST_NAMES.items()))
        if first.isascii():
            last = self.rng.choice(ENGLISH_LAST_NAMES)
            latin_last = last.lower().replace("'", "")
        else:
            latin_last, last = self.rng.choice(list(RUSSIAN_LAST_NAMES.items()))
            if first[-1] in "ая":  # a woman's surname
                latin_last, last = latin_last + "a", last + "а"
        if kind == "word":
            local = f"{name}.{latin_last}"
        else:
            local = self.rng.choice(
                (f"{latin}.{latin_last}", f"{latin[0]}.{latin_last}", f"{latin_last}_{latin}")
            )
        if kind == "domain":
            domain = f"{name}.{ROOT}"
        else:
            big = self.rng.random() < 0.6
            host = self.rng.choice(BIG_DOMAINS if big else SMALL_DOMAINS)
            domain = f"{host}.inbox.{ROOT}"
        email = self._untaken(local, domain)
        return [email, first, last, self.rng.choice(CITIES), self.rng.choice(COMPANIES)]

    def _untaken(self, local: str, domain: str) -> str:
        email = f"{local}@{domain}"
        while email in self.taken:
            email = f"{local}{self.rng.randrange(1, max(100, self.recipients))}@{domain}"
        self.taken.add(email)
        return email

    def _again(self) -> list[str]:
        """An earlier row: as it was, or its address in another spelling."""
        email, *others = self.rng.choice(self.written)
        spellings = (email, email.upper(), email.title(), f" {email}", f"{email}  ")
        return [self.rng.choice(spellings), *others]


def _break(row: list[str], number: int) -> list[str]:
    """One of the ways in which rows are broken, each in its turn."""
    email, *others = row
    local, _, domain = email.partition("@")
    ways = (
        [local + domain, *others],
        ["", *others],
        [f"{local}..x@{domain}", *others],
        [f"{local} x@{domain}", *others],
        [f"{local}@{domain.replace('.', '..')}", *others],
        [f"{local}@@{domain}", *others],
        [f"{local}@", *others],
        [f"@{domain}", *others],
        [email, *others[:2]],
        [email, *others, "VIP"],
        ["нет", *others],
        [f"{local}@{domain.replace('.', ',')}", *others],
    )
    return ways[number % len(ways)]


def _line(cells: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=";", lineterminator="\n").writerow(cells)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipients", type=int, default=DEFAULT_RECIPIENTS, metavar="N")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, metavar="S")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="PATH")
    arguments = parser.parse_args()
    with arguments.out.open("w", encoding="utf-8", newline="") as file:
        file.writelines(Maker(arguments.recipients, arguments.seed).lines())


if __name__ == "__main__":
    main()
