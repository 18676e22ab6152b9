"""Merge fields and logic in letters: Liquid templates that cannot harm the process.

Source of the language: https://shopify.github.io/liquid/, as python-liquid has it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, wraps
from typing import Any, Literal

from liquid import BoundTemplate, Environment, Mode, RenderContext
from liquid.exceptions import BlockNestingError, LiquidError, ResourceLimitError
from liquid.filter import with_context
from liquid.token import Token

from mailkit.localized import format_moment, format_number, language_of, moment_of
from mailkit.mime import unix_line_ends

MAX_SOURCE = 1_000_000  # characters
MAX_VALUE = 250_000  # characters or items of what goes into and comes out of a filter
# Of filters whose time grows with the square of what goes in.
_MAX_SLOW = {"uniq": 4_000, "strip_html": 10_000, "sum": 20_000}
_MAX_BITS = 14_000  # Python prints integers of up to 4,300 digits
MAX_SECONDS = 0.5  # of one rendering, by the clock on the wall
# The language of the contact decides how dates and numbers are written.
LANGUAGE_FIELD = "language"
# Names that the language itself provides.
_BUILT_IN = frozenset(("now", "today", "forloop", "tablerowloop", "empty", "blank"))

TemplateFaultCode = Literal["syntax", "unknown_filter", "too_deep", "too_large"]
RenderFaultCode = Literal["limit", "failed"]


@dataclass(frozen=True, slots=True)
class TemplateFault:
    """Why a source is no template. `line` counts from 1; `detail` is English, for authors.

    `near` is the field or tag that it is about, as it stands in the source, or empty.
    """

    line: int
    message_code: TemplateFaultCode
    detail: str
    near: str = ""


@dataclass(frozen=True, slots=True)
class RenderFault:
    """Why the values could not be merged: `limit` (too much work, time or output) or `failed`.

    `near` is the field or tag that it is about, as it stands in the source, or empty.
    """

    line: int
    message_code: RenderFaultCode
    detail: str
    near: str = ""


@dataclass(frozen=True, slots=True)
class UnknownField:
    """A field that no contact has: on which line first, and the known one that it looks like."""

    name: str
    line: int
    meant: str


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template.

    `fields`: the root names it reads, as in `{{ name.part }}`; `lines`: where first.
    """

    fields: frozenset[str]
    source: str
    _bound: BoundTemplate
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)

    def render(self, values: Mapping[str, object]) -> str | RenderFault:
        """Merge `values`: strings, numbers, dates, lists and mappings of them. A missing one
        is empty; in an HTML template all are escaped unless they have `__html__`."""
        try:
            return self._bound.render(values)
        except ResourceLimitError as exc:
            return RenderFault(*_place(exc, self.source, "limit"))
        except LiquidError as exc:
            return RenderFault(*_place(exc, self.source, "failed"))
        # Filters raise what Python raises (ValueError for an integer of 5,000 digits,
        # OverflowError, TypeError, RecursionError): the author's fault, not ours.
        except Exception as exc:  # noqa: BLE001
            return RenderFault(1, "failed", f"{type(exc).__name__}: {exc}")

    def unknown(self, known: Iterable[str]) -> list[UnknownField]:
        """The fields that are none of the `known` ones, in the order of their lines."""
        names = [*known]
        found = []
        for name in sorted(self.fields.difference(names, _BUILT_IN)):
            close = get_close_matches(name.lower(), names, n=1, cutoff=0.7)
            found.append(UnknownField(name, self.lines.get(name, 1), close[0] if close else ""))
        return sorted(found, key=lambda one: (one.line, one.name))


def compile_template(source: str, *, html: bool, language: str = "en") -> Template | TemplateFault:
    """Compile a template; `html` says whether values are escaped for HTML.

    `language`: of dates and numbers where the values name none (LANGUAGE_FIELD).
    """
    if len(source) > MAX_SOURCE:
        return TemplateFault(1, "too_large", f"{len(source)} characters, {MAX_SOURCE} allowed")
    # python-liquid makes two line ends of a CRLF that ends the source.
    source = unix_line_ends(source)
    environment = _environment(html, language_of(language, "en"))
    try:
        bound = environment.from_string(source)
        analysis = bound.analyze(include_partials=False)
    except BlockNestingError as exc:
        return TemplateFault(*_place(exc, source, "too_deep"))
    except LiquidError as exc:
        return TemplateFault(*_place(exc, source, "syntax"))
    except RecursionError:
        return TemplateFault(1, "too_deep", "nested too deeply")
    for name, spans in analysis.filters.items():
        if name not in environment.filters:
            index = min(span.index for span in spans)
            return TemplateFault(
                _line_at(source, index), "unknown_filter", name, _near(source, index)
            )
    lines = {
        name: _line_at(source, min(one.span.index for one in uses))
        for name, uses in analysis.globals.items()
    }
    return Template(frozenset(analysis.globals), source, bound, lines)


class _Context(RenderContext):
    """Looks at the clock at each node: every node asks for the tags that are switched off."""

    __slots__ = ("_disabled", "_until")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._until = time.monotonic() + MAX_SECONDS
        super().__init__(*args, **kwargs)

    @property
    def disabled_tags(self) -> list[str]:
        self.look_at_clock()
        return self._disabled

    @disabled_tags.setter
    def disabled_tags(self, tags: list[str]) -> None:
        self._disabled = tags

    def look_at_clock(self) -> None:
        if time.monotonic() > self._until:
            raise ResourceLimitError("it takes too long", token=None)

    def filter(self, name: str, token: Token | None) -> Callable[..., object]:
        self.look_at_clock()
        return super().filter(name, token)


class _Bound(BoundTemplate):
    context_class = _Context


class _Environment(Environment):
    template_class = _Bound
    language = "en"
    block_nesting_limit = 30
    context_depth_limit = 30
    loop_iteration_limit = 1_000
    local_namespace_limit = 500_000  # bytes
    output_stream_limit = 2_000_000  # bytes


class _TooMuch(ResourceLimitError):
    def __init__(self, filter_name: str) -> None:
        super().__init__(f"{filter_name}: too much data", token=None)


@with_context
def _date(value: object, pattern: object = "medium", *, context: RenderContext) -> object:
    """`{{ born | date: "%-d %B" }}`; what is no date stays as it is."""
    moment = moment_of(value)
    return value if moment is None else format_moment(moment, str(pattern), _language(context))


@with_context
def _number(value: object, places: object = None, *, context: RenderContext) -> object:
    """`{{ total | number: 2 }}`; what is no number stays as it is."""
    wanted = places if isinstance(places, int) else None
    written = format_number(value, wanted, _language(context))
    return value if written is None else written


def _language(context: RenderContext) -> str:
    assert isinstance(context.env, _Environment)
    return language_of(context.scope.get(LANGUAGE_FIELD), context.env.language)


@cache
def _environment(html: bool, language: str) -> Environment:
    environment = _Environment(autoescape=html, tolerance=Mode.STRICT, strict_filters=True)
    # A letter is one source: no way to files or to other templates.
    del environment.tags["include"], environment.tags["render"]
    # Values come from strangers' sign-up forms: no template switches their escaping off.
    del environment.filters["safe"]
    environment.language = language
    environment.filters |= {"date": _date, "number": _number}
    for name, function in environment.filters.items():
        environment.filters[name] = _bounded(name, function)
    return environment


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """python-liquid limits loops and output, not what a filter makes: `(1..1000000000) |
    join` or a chain of `replace` would take the machine's memory."""

    most = _MAX_SLOW.get(name, MAX_VALUE)

    @wraps(function)  # also keeps the marks that tell python-liquid how to call it
    def bounded(value: Any, *args: Any, **kwargs: Any) -> Any:
        if any(_size(item) > most for item in (value, *args)):
            raise _TooMuch(name)
        if _growth(name, value, args) > MAX_VALUE:
            raise _TooMuch(name)
        result = function(value, *args, **kwargs)
        if _size(result) > MAX_VALUE:
            raise _TooMuch(name)
        return result

    return bounded


def _size(value: object) -> int:
    if isinstance(value, range):  # len() fails beyond sys.maxsize
        return value.stop - value.start
    if isinstance(value, int):
        return MAX_VALUE + 1 if value.bit_length() > _MAX_BITS else 0
    return len(value) if isinstance(value, str | bytes | list | tuple | dict) else 0


def _growth(name: str, value: object, args: tuple[Any, ...]) -> int:
    """The length to expect of the filters whose result can outgrow the sum of their inputs."""
    if name == "replace" and args:
        text, old, new = str(value), str(args[0]), str(args[1]) if len(args) > 1 else ""
        return len(text) + text.count(old) * len(new)
    if name == "join" and isinstance(value, list | tuple | range):
        glue = _size(args[0]) if args else 1
        items = 8 * _size(value) if isinstance(value, range) else sum(map(_size, value))
        return items + len(value) * glue
    return 0


def _place(exc: LiquidError, source: str, code: Any) -> tuple[int, Any, str, str]:
    """Line, code, detail and the field or tag of a fault."""
    index = len(source)
    if exc.token is not None and exc.token.start_index >= 0:
        index = exc.token.start_index
    near = _near(source, index) if index < len(source) else ""
    return _line_at(source, index), code, str(exc.message), near


_OPENING = re.compile(r"\{[{%]")
_LONGEST_NEAR = 80


def _near(source: str, index: int) -> str:
    """The field or tag that an index of the source is in, shortened."""
    begin = max(source.rfind("{{", 0, index + 2), source.rfind("{%", 0, index + 2))
    if begin < 0 or index - begin > 1000:
        return ""
    end = min((at for mark in ("}}", "%}") if (at := source.find(mark, index)) >= 0), default=-1)
    opening = _OPENING.search(source, begin + 2)
    if end < 0 or (opening and opening.start() < end):  # it is not closed
        end = min(index + 40, opening.start() if opening else len(source)) - 2
    text = " ".join(source[begin : end + 2].split())
    return text if len(text) <= _LONGEST_NEAR else text[: _LONGEST_NEAR - 1] + "…"


def _line_at(source: str, index: int) -> int:
    return source.count("\n", 0, index) + 1
