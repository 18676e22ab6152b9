"""The plain text of an HTML letter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress

from lxml import etree

_BLOCK = re.compile(
    "address|article|aside|caption|center|dd|div|dl|dt|footer|form|header|li|main|nav|section"
    "|table|tbody|tfoot|thead|tr"
)
_PARAGRAPH = re.compile("p|h[1-6]|ul|ol|blockquote|pre|hr")
_UNSEEN = frozenset(("head", "script", "style", "template", "title"))
# Preheaders hide in several of these ways at once. Not font-size: tables of MJML have none.
_NOT_DISPLAYED = re.compile(
    r"display\s*:\s*none|mso-hide\s*:\s*all|visibility\s*:\s*hidden"
    r"|max-height\s*:\s*0(?:px)?\s*(?:;|!|$)",
    re.IGNORECASE,
)
_NO_CONTENT = re.compile("area|base|br|col|embed|hr|img|input|link|meta|source|track|wbr")
_UNDERLINES = {"h1": "=", "h2": "-"}
LONGEST_LINE = 78  # of a table whose columns are aligned, and of an underline
_DEEPEST_LIST = 8
_DEEPEST_QUOTE = 5
_DEEPEST = 500  # elements in one another


def html_to_text(html: str) -> str:
    """A readable plain text of an HTML letter: links as `text (url)`, lists, quotes, headings,
    tables of data in columns, the alternative texts of images; what is not displayed is left
    out, such as a preheader. Ends with a newline. Takes time in proportion to the HTML.
    """
    reader = _Reader()
    # Not html.parser: it takes the square of the time for "<a <a <a".
    parser = etree.HTMLParser(target=reader)
    # Empty input is a mistake for it. With elements too deep in one another it takes the square
    # of the time: no letter has them, and what is behind is left out.
    with suppress(_TooDeep):
        parser.feed(f"<body>{_UNFIT.sub('', html)}")
        parser.close()
    return reader.text()


# No text of XML; lone surrogates cannot be encoded.
_UNFIT = re.compile("[\x00-\x08\x0b\x0e-\x1f\ud800-\udfff]")


class _TooDeep(Exception):
    """Ends the parsing."""


class _Frame:
    """Text being gathered, which becomes part of what is around it: all, a quote, a cell."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.newlines = 0  # owed before the next word
        self.space = False  # likewise

    def write(self, text: str) -> None:
        if self.out and self.newlines:
            self.out.append("\n" * min(self.newlines, 2))
        elif self.out and self.space:
            self.out.append(" ")
        self.newlines, self.space = 0, False
        self.out.append(text)

    def owe(self, newlines: int) -> None:
        self.newlines = max(self.newlines, newlines)

    def text(self) -> str:
        return "".join(self.out).strip()


class _Table(_Frame):
    """A table without tables in it: its rows of cells, until it is seen what it is for."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level  # how many frames are below
        self.rows: list[list[str]] = []
        self.is_data = False

    def lines(self) -> list[str]:
        rows = [row for row in self.rows if any(row)]
        simple = all("\n" not in cell for row in rows for cell in row)
        columns = max(map(len, rows), default=0)
        if not (self.is_data and simple and columns > 1):
            return [" ".join(filter(None, row)) for row in rows]
        rows = [[*row, *[""] * (columns - len(row))] for row in rows] if columns <= 20 else rows
        by_column = [*zip(*rows, strict=False)]
        widths = [max(map(len, column)) for column in by_column]
        if columns > 20 or sum(widths) + 2 * (columns - 1) > LONGEST_LINE:
            return [" | ".join(row) for row in rows]
        pads = [str.rjust if all(map(_is_figure, one[1:])) else str.ljust for one in by_column]
        lines = []
        for row in rows:
            cells = zip(pads, row, widths, strict=True)
            lines.append("  ".join(pad(cell, width) for pad, cell, width in cells).rstrip())
        return lines


def _is_figure(cell: str) -> bool:
    return bool(re.fullmatch(r"[-+]?[\d.,\s]+\W{0,2}", cell))


class _Reader:
    """What the parser tells of the elements, made into text (lxml's "target")."""

    def __init__(self) -> None:
        self._frames = [_Frame()]
        self._quotes: list[int] = []  # how many frames lie below each open quote
        self._unseen = ""  # the element that is not displayed, and how many such are open in it
        self._unseen_depth = 0
        self._lists: list[int | None] = []  # the next number, None where there are bullets
        self._bulleted = False  # an item's own first paragraph goes on behind the bullet
        self._link: tuple[str, _Frame, int] | None = None  # URL, where its text starts
        self._heading: tuple[str, _Frame, int] | None = None  # underline, likewise
        self._pre = 0
        self._depth = 0

    def close(self) -> None:
        """The parser says that it is over."""

    def text(self) -> str:
        while len(self._frames) > 1:
            self._close_frame()
        return self._frames[0].text() + "\n"

    @property
    def _top(self) -> _Frame:
        return self._frames[-1]

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _TooDeep
        if self._unseen:
            self._unseen_depth += tag == self._unseen
            return
        style = attributes.get("style", "")
        if tag in _UNSEEN or "hidden" in attributes or _NOT_DISPLAYED.search(style):
            if not _NO_CONTENT.fullmatch(tag):
                self._unseen, self._unseen_depth = tag, 1
            return
        self._break_for(tag)
        match tag:
            case "br":
                self._top.newlines += 1
            case "hr":
                self._write("---")
                self._break_for(tag)
            case "ul":
                self._lists.append(None)
            case "ol":
                self._lists.append(_number(attributes.get("start", ""), 1))
            case "li":
                self._bullet(attributes.get("value", ""))
            case "img":
                self.data(attributes.get("alt", ""))
            case "a":
                self._end_link()  # links are not in one another
                href = attributes.get("href", "").strip()
                self._link = (href, self._top, len(self._top.out))
            case "pre":
                self._pre += 1
            case "blockquote":
                if len(self._quotes) < _DEEPEST_QUOTE:
                    self._quotes.append(len(self._frames))
                    self._frames.append(_Frame())
            case "h1" | "h2":
                self._heading = (_UNDERLINES[tag], self._top, len(self._top.out))
            case "table" | "tr" | "td" | "th" | "thead" | "caption":
                self._table_tag(tag, attributes)
            case _:
                pass

    def end(self, tag: str) -> None:
        self._depth -= 1
        if self._unseen:
            self._unseen_depth -= tag == self._unseen
            if not self._unseen_depth:
                self._unseen = ""
            return
        match tag:
            case "ul" | "ol" if self._lists:
                self._lists.pop()
            case "a":
                self._end_link()
            case "pre":
                self._pre = max(self._pre - 1, 0)
            case "h1" | "h2":
                self._underline()
            case "blockquote" if self._quotes:
                while len(self._frames) > self._quotes[-1] + 1:
                    self._close_frame()
                self._close_frame()
            case "td" | "th" if self._in_cell:
                self._close_frame()
            case "td" | "th":
                self._top.space = True
            case "table" if table := self._table:
                while table in self._frames:
                    self._close_frame()
            case _:
                pass
        self._break_for(tag)

    def data(self, data: str) -> None:
        if self._unseen or not data:
            return
        if self._pre:
            self._write(data)
            return
        self._top.space = self._top.space or data[0].isspace()
        for word in data.split():
            self._write(word)
            self._top.space = True
        self._top.space = data[-1].isspace()

    def _write(self, text: str) -> None:
        self._bulleted = False
        self._top.write(text)

    def _break_for(self, tag: str) -> None:
        if self._bulleted:
            return
        nested_list = tag in ("ul", "ol") and self._lists
        if _PARAGRAPH.fullmatch(tag) and not nested_list:
            self._top.owe(2)
        elif nested_list or _BLOCK.fullmatch(tag):
            self._top.owe(1)

    def _bullet(self, value: str) -> None:
        number = self._lists[-1] if self._lists else None
        indent = "  " * min(max(len(self._lists) - 1, 0), _DEEPEST_LIST)
        if number is None:
            self._write(f"{indent}-")
        else:
            number = _number(value, number)
            self._write(f"{indent}{number}.")
            self._lists[-1] = number + 1
        self._top.space = self._bulleted = True

    def _end_link(self) -> None:
        if self._link is None:
            return
        url, frame, start = self._link
        self._link = None
        if frame is not self._top:  # a table or a quote began in it
            return
        label = "".join(frame.out[start:]).strip()
        if not url or url.startswith("#") or label in (url, url.removeprefix("mailto:")):
            return
        frame.space = True
        self._write(f"({url})" if label else url)

    def _underline(self) -> None:
        if self._heading is None:
            return
        mark, frame, start = self._heading
        self._heading = None
        lines = "".join(frame.out[start:]).strip().splitlines()
        if lines and frame is self._top:
            frame.newlines = 1
            self._write(mark * min(max(map(len, lines)), LONGEST_LINE))

    @property
    def _table(self) -> _Table | None:
        """The table that is being gathered; below it there is at most one cell."""
        for frame in self._frames[-2:]:
            if isinstance(frame, _Table):
                return frame
        return None

    @property
    def _in_cell(self) -> bool:
        return len(self._frames) > 1 and isinstance(self._frames[-2], _Table)

    def _table_tag(self, tag: str, attributes: Mapping[str, str]) -> None:
        table = self._table
        match tag:
            case "table":
                if table:  # the outer one is for layout: what it holds stands where it is
                    self._dissolve(table)
                if attributes.get("role") not in ("presentation", "none"):
                    self._frames.append(_Table(len(self._frames)))
            case "tr" if table:
                if self._in_cell:
                    self._close_frame()
                table.rows.append([])
            case "td" | "th" if table:
                if self._in_cell:
                    self._close_frame()
                table.is_data = table.is_data or tag == "th"
                self._frames.append(_Frame())
            case "thead" | "caption" if table:
                table.is_data = True
            case _:
                pass

    def _dissolve(self, table: _Table) -> None:
        """Put what a table holds so far into what is around it, as it would read without it."""
        cell = self._frames.pop() if self._in_cell else None
        self._frames.remove(table)
        around = self._top
        self._put_lines(around, [table.text()])
        self._put_lines(around, [" ".join(filter(None, row)) for row in table.rows])
        if cell and cell.text():
            around.write(cell.text())
            around.newlines, around.space = cell.newlines, cell.space
        around.owe(1)

    def _close_frame(self) -> None:
        frame = self._frames.pop()
        if self._quotes and self._quotes[-1] == len(self._frames):
            self._quotes.pop()
            text = frame.text()
            if text:
                self._top.owe(2)
                quoted = (f"> {line}".rstrip() for line in text.split("\n"))
                self._top.write("\n".join(quoted))
            self._top.owe(2)
        elif isinstance(frame, _Table):
            self._top.owe(2 if frame.is_data else 1)
            self._put_lines(self._top, [frame.text(), *frame.lines()])
            self._top.owe(2 if frame.is_data else 1)
        elif isinstance(self._top, _Table):
            rows = self._top.rows
            if not rows:
                rows.append([])
            rows[-1].append(frame.text())
        else:
            self._top.write(frame.text())

    @staticmethod
    def _put_lines(frame: _Frame, lines: Sequence[str]) -> None:
        for line in filter(None, lines):
            frame.write(line)
            frame.owe(1)


def _number(text: str, otherwise: int) -> int:
    return int(text) if re.fullmatch(r"\d{1,6}", text, re.ASCII) else otherwise
