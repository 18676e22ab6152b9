"""What a column is taken for, by its header and its values."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailkit.imports.rows import TARGETS
from mailkit.imports.suggest import meaning, suggest_field_kind, suggest_mapping


@pytest.mark.parametrize(
    ("headers", "targets"),
    [
        (["Email", "Имя", "Фамилия", "Город"], ["email", "first_name", "last_name", "gorod"]),
        (["E-mail", "First Name", "Last name"], ["email", "first_name", "last_name"]),
        (["Эл. почта", "ИМЯ", "Фамилия:"], ["email", "first_name", "last_name"]),
        (["Адрес электронной почты", "Surname"], ["email", "last_name"]),
        (["E-mail адрес", "ФИО"], ["email", "fio"]),
        (["Name", "First name", "email"], ["name", "first_name", "email"]),
        (["Email", "email", "EMAIL"], ["email", "email_2", "email_3"]),
        (["", "Email", " "], ["column_1", "email", "column_3"]),
        (["Дата рождения", "2024 год", "Щёлково-Южное"], [
            "data_rozhdeniya", "field_2024_god", "shchelkovo_yuzhnoe",
        ]),
        (["日本", "Email"], ["column_1", "email"]),
        (["Телефон", "телефон!"], ["telefon", "telefon_2"]),
    ],
)  # fmt: skip
def test_headers_suggest_targets(headers: list[str], targets: list[str]) -> None:
    assert suggest_mapping(headers, []) == dict(enumerate(targets))


def test_values_tell_the_email_column() -> None:
    sample = [("yes", "a@x.test", "An"), ("no", "b@x.test", "Bo"), ("no", "", "Cy")]
    assert suggest_mapping(["Email", "Contact", "Имя"], sample)[1] == "email"
    assert suggest_mapping(["a", "b", "c"], sample) == {0: "a", 1: "email", 2: "c"}
    both = [("a@x.test", "b@x.test")]
    assert suggest_mapping(["Referrer", "E-mail"], both) == {0: "referrer", 1: "email"}
    assert suggest_mapping(["a", "b"], both) == {0: "email", 1: "b"}


@given(st.lists(st.text(max_size=60), max_size=30))
def test_every_column_gets_a_key_of_its_own(headers: list[str]) -> None:
    mapping = suggest_mapping(headers, [["a@x.test"] * len(headers)])
    assert list(mapping) == list(range(len(headers)))
    assert len(set(mapping.values())) == len(headers)
    for target in mapping.values():
        assert target in TARGETS or re.fullmatch("[a-z][a-z0-9_]{0,39}", target)


def test_keys_that_agree_in_40_characters_differ() -> None:
    headers = ["x" * 50 + str(n) for n in range(12)]
    targets = suggest_mapping(headers, []).values()
    assert len(set(targets)) == 12
    assert max(map(len, targets)) == 40


EMAILS = [
    *("email", "E-mail", "EMAIL_ADDRESS", "e.mail", "Эл. почта", "эл.почта", "Почта", "Имейл"),
    *("Адрес электронной почты", "Ваш e-mail", "Введите ваш email", "Email (рабочий)", "email 1"),
    *("Электронная почта клиента", "mail", "Primary Email", "Email address:", "емейл"),
]
FIRST_NAMES = [
    *("Имя", "имя клиента", "First name", "FIRST_NAME", "firstName", "Given name", "Forename"),
    *("Ваше имя", "Имя (как обращаться)", "fname", "name", "Имя и отчество", "first-name"),
]
LAST_NAMES = [
    *("Фамилия", "Last name", "last_name", "lastName", "Surname", "Family name", "ФАМИЛИЯ:"),
    *("Ваша фамилия", "Фамилия клиента", "Customer surname"),
]


@given(
    st.sampled_from(EMAILS),
    st.sampled_from(FIRST_NAMES),
    st.sampled_from(LAST_NAMES),
    st.sampled_from([str.upper, str.lower, str.title, str]),
    st.sampled_from(["{}", " {} ", "{}:", "«{}»", "{} *", '"{}"']),
    st.permutations(["email", "first_name", "last_name"]),
)
def test_headers_are_known_however_written(
    email: str, first: str, last: str, case: type[str], form: str, order: list[str]
) -> None:
    headers = {"email": email, "first_name": first, "last_name": last}
    written = [form.format(case(headers[target])) for target in order]
    assert [*suggest_mapping(written, []).values()] == order


@pytest.mark.parametrize(
    "headers",
    [
        ["Телефон", "тел.", "Phone number", "Mobile", "моб. телефон", "Номер телефона", "phone"],
        ["Дата рождения", "Birthday", "date_of_birth", "ДР", "Ваш день рождения", "Birth date"],
        ["Город", "City", "town", "Город проживания", "city name"],
        ["Компания", "Company", "Организация", "organisation", "Название компании"],
        ["ФИО", "Ф.И.О.", "Full name", "full_name", "Фамилия Имя Отчество", "Полное имя"],
    ],
)
def test_headers_of_one_meaning_go_to_the_field_that_is_there(headers: list[str]) -> None:
    assert len({meaning(header) for header in headers}) == 1
    for label in headers:
        for header in headers:
            found = suggest_mapping(["Email", header], [], {"theirs": label, "other": "Other"})
            assert found == {0: "email", 1: "theirs"}


def test_the_same_name_comes_before_the_same_meaning() -> None:
    known = {"telefon": "Телефон", "mobile": "Mobile"}
    headers = ["Mobile", "Phone", "Cell", "Телефон"]
    assert suggest_mapping(headers, [], known) == {
        0: "mobile",
        1: "phone",
        2: "cell",
        3: "telefon",
    }
    assert suggest_mapping(["Phone", "Cell"], [], known) == {0: "telefon", 1: "cell"}


def test_what_has_an_at_sign_is_not_yet_an_address() -> None:
    sample = [("@anna", "a@x.test"), ("@boris", "Борис <b@x.test>"), ("@vera", "")]
    assert suggest_mapping(["Telegram", "Contact"], sample) == {0: "telegram", 1: "email"}


@given(
    st.lists(st.text(max_size=20), max_size=12),
    st.dictionaries(
        st.sampled_from(["phone", "gorod", "birthday", "email_2", "x"]), st.text(max_size=20)
    ),
)
def test_known_fields_are_taken_once(headers: list[str], known: dict[str, str]) -> None:
    mapping = suggest_mapping(headers, [], known)
    assert list(mapping) == list(range(len(headers)))
    assert len(set(mapping.values())) == len(headers)


@pytest.mark.parametrize(
    ("header", "values", "kind"),
    [
        ("Телефон", ["1234567", "7654321"], "text"),
        ("Индекс", ["450000", "101000"], "text"),
        ("Сумма", ["1 200,50", "7"], "number"),
        ("Дата рождения", ["", ""], "date"),
        ("Дата рождения", ["31.01.1990", ""], "date"),
        ("Birthday", ["in May"], "text"),
        ("Согласие", ["да", "нет"], "yes_no"),
        ("Размер", ["S", "M", "L", "M"] * 3, "choice"),
        ("", ["S", "M"], "text"),
    ],
)
def test_the_kind_of_a_new_field(header: str, values: list[str], kind: str) -> None:
    assert suggest_field_kind(header, values) == kind
