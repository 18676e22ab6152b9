"""Segments: their list, the editor with its live count, copies and the end of one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.http import WorkspaceRequest
from apps.mailer.models import Segment
from apps.mailer.segments import counting, turns
from apps.mailer.segments.rules import DEEPEST, MATCHES, Group, parse
from apps.mailer.segments.subjects import Scope
from apps.mailer.services import segments as services
from core.errors import InvalidInput

FIRST = {"match": "all", "rules": [{"what": "email", "operator": "contains", "values": {}}]}
LARGEST = 100_000


def _segment_or_404(request: WorkspaceRequest, pk: int) -> Segment:
    return get_object_or_404(Segment, pk=pk, workspace=request.workspace)


@require_GET
def segments(request: WorkspaceRequest) -> HttpResponse:
    search = request.GET.get("search", "")[:100].strip()
    found = counting.segments(request.workspace, search)
    return render(request, "mailer/segments.html", {"segments": found, "search": search})


@require_http_methods(["GET", "POST"])
def create(request: WorkspaceRequest) -> HttpResponse:
    return _edit(request, Segment(workspace=request.workspace, rules=FIRST))


@require_http_methods(["GET", "POST"])
def segment(request: WorkspaceRequest, pk: int) -> HttpResponse:
    return _edit(request, _segment_or_404(request, pk))


def _edit(request: WorkspaceRequest, edited: Segment) -> HttpResponse:
    error, name, rules = "", edited.name, edited.rules
    if request.method == "POST":
        name, rules = request.POST.get("name", ""), _posted(request)
        try:
            if edited.pk:
                services.update_segment(segment=edited, name=name, rules=rules)
            else:
                services.create_segment(workspace=request.workspace, name=name, rules=rules)
        except InvalidInput as fault:
            error = fault.message
        else:
            messages.success(request, _("The segment is saved."))
            return redirect("mailer:segments", request.workspace.slug)
    scope = Scope(request.workspace)
    context = {
        "segment": edited,
        "name": name,
        "error": error,
        "rule": rule_shown(rules if isinstance(rules, dict) else FIRST, scope),
        "root": True,
        "editor": uuid4().hex,
    }
    return render(request, "mailer/segment.html", context, status=422 if error else 200)


def _posted(request: WorkspaceRequest) -> object:
    """The editor's rules; None where they are no JSON, which services refuse."""
    text = request.POST.get("rules", "")
    try:
        return json.loads(text) if len(text) <= LARGEST else None
    except (ValueError, RecursionError):
        return None


@require_GET
def rule(request: WorkspaceRequest) -> HttpResponse:
    """A new condition or group, or a condition with what was chosen so far."""
    scope = Scope(request.workspace)
    if request.GET.get("group"):
        shown = rule_shown(FIRST, scope)
    else:
        values = {name: request.GET.getlist(name) for name in request.GET}
        what = request.GET.get("what") or "email"
        shown = rule_shown(
            {"what": what, "operator": request.GET.get("operator", ""), "values": values}, scope
        )
    return render(request, "mailer/_segment_rule.html", {"rule": shown})


@require_POST
def live_count(request: WorkspaceRequest) -> HttpResponse:
    """How many the rules find that stand in the editor, and the first of them."""
    scope = Scope(request.workspace)
    context: dict[str, Any] = {}
    try:
        rules = parse(_posted(request), scope)
    except InvalidInput as error:
        context["unfinished"] = error.message
    else:
        editor = f"{request.user.pk}:{request.POST.get('editor', '')[:40]}"
        try:
            with turns.latest_of(editor), turns.slot():
                context = _found(rules, scope)
        except turns.Superseded:
            return HttpResponse(status=204)
        except turns.Busy:
            return _later(render(request, "mailer/_segment_count.html", {"busy": True}))
    return render(request, "mailer/_segment_count.html", context)


def _found(rules: Group, scope: Scope) -> dict[str, Any]:
    found = counting.count(rules, scope)
    first = counting.first(rules, scope) if found.exact else None
    return {"found": found, "first": first}


def _later(answer: HttpResponse) -> HttpResponse:
    """The page asks again in a second."""
    answer["HX-Trigger"] = "count-again"
    return answer


@require_POST
def count(request: WorkspaceRequest, pk: int) -> HttpResponse:
    """Count a segment of the list again."""
    counted = _segment_or_404(request, pk)
    context: dict[str, Any] = {"segment": counted}
    try:
        with turns.slot():
            context["found"] = services.count_segment(segment=counted)
    except InvalidInput as error:
        context["unfinished"] = error.message
    except turns.Busy:
        context["busy"] = True
    return render(request, "mailer/_segment_counted.html", context)


@require_POST
def duplicate(request: WorkspaceRequest, pk: int) -> HttpResponse:
    copy = services.duplicate_segment(segment=_segment_or_404(request, pk))
    messages.success(request, _("This is a copy of the segment."))
    return redirect("mailer:segment", request.workspace.slug, copy.pk)


@require_http_methods(["GET", "POST"])
def delete(request: WorkspaceRequest, pk: int) -> HttpResponse:
    doomed = _segment_or_404(request, pk)
    if request.method == "POST":
        services.delete_segment(segment=doomed)
        messages.success(request, _("The segment “%(name)s” is deleted.") % {"name": doomed})
        return redirect("mailer:segments", request.workspace.slug)
    return render(request, "mailer/segment_delete.html", {"segment": doomed})


# What the templates draw.


def rule_shown(data: Mapping[str, Any], scope: Scope, depth: int = 1) -> dict[str, Any]:
    """A group or condition with its inputs, tolerant of rules that are unfinished or outdated.

    Deeper than rules may be it stops: templates that include each other have a limit, too.
    """
    if "match" in data:
        rules = data.get("rules")
        rules = rules if isinstance(rules, list) and depth <= DEEPEST else []
        return {
            "is_group": True,
            "match": data["match"],
            "matches": MATCHES.items(),
            "rules": [rule_shown(one, scope, depth + 1) for one in rules if isinstance(one, dict)],
        }
    what, name = str(data.get("what", "")), str(data.get("operator", ""))
    subject = scope.subjects.get(what)
    operators = dict(subject.operators) if subject else {}
    chosen = operators.get(name) or next(iter(operators.values()), None)
    values = data.get("values")
    values = values if isinstance(values, dict) else {}
    return {
        "is_group": False,
        "what": what,
        "missing": subject is None,
        "groups": _grouped(scope),
        "operators": [(key, one.label, one is chosen) for key, one in operators.items()],
        "inputs": [
            {
                "argument": argument,
                "value": _shown(values.get(argument.name, argument.default), argument.kind),
                "options": [
                    (key, label, key in _several(values.get(argument.name, argument.default)))
                    for key, label in argument.options
                ],
            }
            for argument in (chosen.arguments if chosen else ())
        ],
    }


def _grouped(scope: Scope) -> list[tuple[str, list[tuple[str, str]]]]:
    groups: dict[str, list[tuple[str, str]]] = {}
    for key, subject in scope.subjects.items():
        groups.setdefault(str(subject.group), []).append((key, str(subject.label)))
    return list(groups.items())


def _several(value: object) -> list[str]:
    texts: Iterable[object] = value if isinstance(value, list) else [value]
    return [str(one) for one in texts]


def _shown(value: object, kind: str) -> str:
    return (", " if kind == "tags" else "").join(_several(value))
