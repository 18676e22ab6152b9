"""Merge fields and logic in letters: Liquid templates that cannot harm the process.

Source of the language: https://shopify.github.io/liquid/, as python-liquid has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, Literal

from liquid import BoundTemplate, Environment, Mode
from liquid.exceptions import BlockNestingError, LiquidError, ResourceLimitError

from mailkit.mime import unix_line_ends

MAX_SOURCE = 1_000_000  # characters
MAX_VALUE = 250_000  # characters or items of what goes into and comes out of a filter
_MAX_BITS = 14_000  # Python prints integers of up to 4,300 digits

TemplateFaultCode = Literal["syntax", "unknown_filter", "too_deep", "too_large"]
RenderFaultCode = Literal["limit", "failed"]


@dataclass(frozen=True, slots=True)
class TemplateFault:
    """Why a source is no template. `line` counts from 1; `detail` is English, for authors."""

    line: int
    message_code: TemplateFaultCode
    detail: str


@dataclass(frozen=True, slots=True)
class RenderFault:
    """Why the values could not be merged: `limit` (too much work or output) or `failed`."""

    line: int
    message_code: RenderFaultCode
    detail: str


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template. `fields`: the root names it reads, as in `{{ name.part }}`."""

    fields: frozenset[str]
    source: str
    _bound: BoundTemplate

    def render(self, values: Mapping[str, object]) -> str | RenderFault:
        """Merge `values`: strings, numbers, dates, lists and mappings of them. A missing one
        is empty; in an HTML template all are escaped unless they have `__html__`."""
        try:
            return self._bound.render(values)
        except ResourceLimitError as exc:
            return RenderFault(_line(exc, self.source), "limit", str(exc.message))
        except LiquidError as exc:
            return RenderFault(_line(exc, self.source), "failed", str(exc.message))
        # Filters raise what Python raises (ValueError for an integer of 5,000 digits,
        # OverflowError, TypeError, RecursionError): the author's fault, not ours.
        except Exception as exc:  # noqa: BLE001
            return RenderFault(1, "failed", f"{type(exc).__name__}: {exc}")


def compile_template(source: str, *, html: bool) -> Template | TemplateFault:
    """Compile a template; `html` says whether values are escaped for HTML."""
    if len(source) > MAX_SOURCE:
        return TemplateFault(1, "too_large", f"{len(source)} characters, {MAX_SOURCE} allowed")
    # python-liquid makes two line ends of a CRLF that ends the source.
    source = unix_line_ends(source)
    environment = _environment(html)
    try:
        bound = environment.from_string(source)
        analysis = bound.analyze(include_partials=False)
    except BlockNestingError as exc:
        return TemplateFault(_line(exc, source), "too_deep", str(exc.message))
    except LiquidError as exc:
        return TemplateFault(_line(exc, source), "syntax", str(exc.message))
    except RecursionError:
        return TemplateFault(1, "too_deep", "nested too deeply")
    for name, spans in analysis.filters.items():
        if name not in environment.filters:
            line = _line_at(source, min(span.index for span in spans))
            return TemplateFault(line, "unknown_filter", name)
    return Template(frozenset(analysis.globals), source, bound)


class _Environment(Environment):
    block_nesting_limit = 30
    context_depth_limit = 30
    loop_iteration_limit = 1_000
    local_namespace_limit = 500_000  # bytes
    output_stream_limit = 2_000_000  # bytes


class _TooMuch(ResourceLimitError):
    def __init__(self, filter_name: str) -> None:
        super().__init__(f"{filter_name}: too much data", token=None)


@cache
def _environment(html: bool) -> Environment:
    environment = _Environment(autoescape=html, tolerance=Mode.STRICT, strict_filters=True)
    # A letter is one source: no way to files or to other templates.
    del environment.tags["include"], environment.tags["render"]
    # Values come from strangers' sign-up forms: no template switches their escaping off.
    del environment.filters["safe"]
    for name, function in environment.filters.items():
        environment.filters[name] = _bounded(name, function)
    return environment


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """python-liquid limits loops and output, not what a filter makes: `(1..1000000000) |
    join` or a chain of `replace` would take the machine's memory."""

    @wraps(function)  # also keeps the marks that tell python-liquid how to call it
    def bounded(value: Any, *args: Any, **kwargs: Any) -> Any:
        if any(_size(item) > MAX_VALUE for item in (value, *args)):
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


def _line(exc: LiquidError, source: str) -> int:
    if exc.token is None or exc.token.start_index < 0:
        return _line_at(source, len(source))
    return _line_at(source, exc.token.start_index)


def _line_at(source: str, index: int) -> int:
    return source.count("\n", 0, index) + 1
