"""The fast ways of reading and mapping give what the careful ones give."""

from __future__ import annotations

import io

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailkit import addresses
from mailkit.addresses import Address, parse_address, plain_email, plain_emails
from mailkit.imports import lines as lines_module
from mailkit.imports.delimited import record_batches, records
from mailkit.imports.lines import Batch, PlainRecords, Record, TextLines
from mailkit.imports.rows import map_row, map_rows
from mailkit.imports.table import Row

LOCALS = st.text(alphabet="aZ09.+_-'\"<\u0131\u212a ", min_size=1, max_size=70)
DOMAINS = st.lists(st.text(alphabet="aZ09-ф\u212a", max_size=40), min_size=1, max_size=4)
TYPED = st.builds(lambda local, labels: f"{local}@{'.'.join(labels)}", LOCALS, DOMAINS)


@settings(max_examples=600, deadline=None)
@given(st.one_of(TYPED, st.text(max_size=80), st.emails()))
@example("\u212a@b.com")
@example("a" * 60 + "@b.com")
@example("mailto:a@b.com")
@example("a@b.c")
@example("a@1.2.3.4")
@example("a@-b.com")
def test_plain_addresses_are_what_the_whole_parser_makes_of_them(raw: str) -> None:
    careful = addresses._parse(raw)
    assert parse_address(raw) == careful
    if (plain := plain_email(raw)) is not None:
        assert isinstance(careful, Address)
        assert plain == careful.email


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.emails(), st.sampled_from(["a@b.com", "A@B.com\nc@d.com", "\u212a@b.com"]))))
def test_a_column_of_addresses_is_the_addresses(raw: list[str]) -> None:
    assert list(plain_emails(raw)) == [plain_email(one) for one in raw]


CELLS = st.text(alphabet='ab,"\n\r\0\u2028\x0bж', max_size=6)


def singly(batch: Batch) -> list[Record]:
    if isinstance(batch, PlainRecords):
        return [Record(number, cells) for number, cells in enumerate(batch.cells, batch.line)]
    return batch


@settings(max_examples=600, deadline=None)
@given(
    pieces=st.lists(st.one_of(CELLS, st.sampled_from(["\n", "\r\n", '"x, y"', '"x\ny",', ",b\n"]))),
    broken=st.booleans(),
    block=st.integers(1, 40),
)
def test_blocks_give_the_records_of_single_lines(
    pieces: list[str], broken: bool, block: int
) -> None:
    data = "".join(pieces).encode() + b"\xff,1\n2,3\n" * broken
    size = lines_module.BLOCK

    def fits(cells: list[str]) -> bool:
        return len(cells) == 2

    slow = list(records(TextLines(io.BytesIO(data), "utf-8"), delimiter=",", quotechar='"', fits=fits))
    try:
        lines_module.BLOCK = block
        fast = [
            record
            for batch in record_batches(
                TextLines(io.BytesIO(data), "utf-8"), delimiter=",", quotechar='"', fits=fits
            )
            for record in singly(batch)
        ]
    finally:
        lines_module.BLOCK = size
    # The csv module has no cell in an empty line, and we have an empty one.
    assert [record._replace(cells=record.cells or [""]) for record in fast] == slow


VALUES = st.one_of(
    st.text(alphabet="ab  \n\t\u00a0\u200b\u202e\0ж", max_size=5),
    st.sampled_from(["x" * 501, "a@x.test", "A@X.test", "", " a@x.test"]),
)
ROWS = st.lists(
    st.tuples(
        st.lists(VALUES, max_size=5).map(tuple),
        st.sampled_from([None, None, None, "wrong_cell_count"]),
    ),
    max_size=8,
)
MAPPINGS = st.permutations(["email", "first_name", "last_name", "city", "age"]).map(
    lambda targets: dict(enumerate(targets[: targets.index("email") + 1]))
)


@settings(max_examples=400, deadline=None)
@given(found=ROWS, mapping=MAPPINGS)
def test_rows_mapped_together_are_rows_mapped_one_by_one(
    found: list[tuple[tuple[str, ...], str | None]], mapping: dict[int, str]
) -> None:
    rows = [Row(n, n + 1, cells, fault) for n, (cells, fault) in enumerate(found, 1)]
    assert map_rows(rows, mapping) == [map_row(row, mapping) for row in rows]
