"""Which encoding a text is taken for, however short it is."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailkit.imports.encoding import detect

NAMES = st.lists(
    st.sampled_from(
        [
            *("Анна", "Иван", "Пётр", "Мария", "Ольга", "Сергей", "Юлия", "Жанна", "Фёдор"),
            *("Москва", "Казань", "Омск", "Екатеринбург", "Щёлково", "улица", "Эльвира"),
            *("менеджер", "директор", "ПЕТРОВА", "ИВАНОВ", "хлеб"),
        ]
    ),
    unique=True,  # one word again and again may look like another one in capitals
    min_size=5,
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(NAMES, st.sampled_from(["cp1251", "koi8-r", "utf-8", "utf-16-le", "utf-16-be"]))
def test_russian_encodings_are_told_apart(names: list[str], encoding: str) -> None:
    text = "Email;Имя\n" + "".join(f"a@x.test;{name}\n" for name in names)
    assert detect(io.BytesIO(text.encode(encoding))) == encoding


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["José", "Zoë", "Müller", "François", "Åsa"]), min_size=1))
def test_western_names_are_not_read_as_russian(names: list[str]) -> None:
    text = "Email,Name\n" + "".join(f"a@x.test,{name}\n" for name in names)
    assert detect(io.BytesIO(text.encode("cp1252"))) == "cp1252"


NAMES_TEXT = """
Анна Иван Пётр Мария Ольга Сергей Юлия Жанна Фёдор Эльвира Яна Игорь Олег Лев Ия Ева Глеб Зоя
Инна Нина Илья Юрий Артём Алёна Любовь Надежда Ксения Дарья Вячеслав Людмила Шамиль Ильдар
Гузель Айгуль Зухра Эдуард Ян Яков Юля Аня Щукарь Цветана
"""
SURNAMES_TEXT = """
Петров Иванов Сидорова Кузнецова Щербаков Цветаева Жуков Юдин Эйхе Яковлев Хрущёва Шишкин Чехов
Ушаков Ёлкин Фет Блок Бунин Толстой Достоевский Пушкин Гоголь Тургенев Ахметов Цой Ли Гайнуллин
Оганесян Ким Пак Мгеладзе Шевченко Ткачук Мельник Рыжов Съедин Объедков Подъячев
"""
FIRST, LAST = NAMES_TEXT.split(), SURNAMES_TEXT.split()
PEOPLE = st.tuples(st.sampled_from(FIRST), st.sampled_from(LAST))
RUSSIAN = st.sampled_from(["cp1251", "koi8-r", "utf-8", "utf-16-le", "utf-16-be"])


@settings(max_examples=500, deadline=None)
@given(
    st.lists(PEOPLE, unique=True, min_size=3, max_size=8),
    RUSSIAN,
    st.sampled_from(["Email;Name;Surname\n", "Почта;Имя;Фамилия\n", "почта;имя;фамилия\n", ""]),
)
def test_three_names_tell_the_encoding(
    people: list[tuple[str, str]], encoding: str, header: str
) -> None:
    text = header + "".join(f"a@x.test;{first};{last}\n" for first, last in people)
    assert detect(io.BytesIO(text.encode(encoding))) == encoding


@settings(max_examples=300, deadline=None)
@given(
    st.lists(PEOPLE, unique=True, min_size=8, max_size=12),
    RUSSIAN,
    st.sampled_from([str.lower, str.upper]),
)
def test_names_without_a_change_of_case_take_a_few_more(
    people: list[tuple[str, str]], encoding: str, case: type[str]
) -> None:
    text = "Почта;Имя;Фамилия\n" + "".join(
        f"a@x.test;{case(first)};{case(last)}\n" for first, last in people
    )
    assert detect(io.BytesIO(text.encode(encoding))) == encoding


@pytest.mark.parametrize("word", ["Анна", "Иван", "Юлия", "Ольга", "Щукин", "Объездчикова"])
@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r"])
def test_a_single_name(word: str, encoding: str) -> None:
    assert detect(io.BytesIO(f"Email,Name\na@x.test,{word}\n".encode(encoding))) == encoding
