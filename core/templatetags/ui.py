"""Template tags of the interface: icons, navigation, form widgets, small formats."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from django import forms, template
from django.conf import settings
from django.contrib.humanize.templatetags.humanize import intcomma
from django.contrib.staticfiles import finders
from django.forms.boundfield import BoundField, BoundWidget
from django.template import Context
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext

register = template.Library()

# Tabler's colour names; text with them keeps AA contrast through the `-lt` (light) variants.
TONES = {
    "valid": "green",
    "risky": "yellow",
    "invalid": "red",
    "unknown": "azure",
    "subscribed": "green",
    "unsubscribed": "secondary",
    "bounced": "red",
    "complained": "red",
    "manual": "secondary",
    "erased": "secondary",
    "uploaded": "yellow",
    "draft": "secondary",
    "scheduled": "azure",
    "queued": "secondary",
    "preparing": "blue",
    "running": "blue",
    "sending": "blue",
    "handing_off": "blue",
    "paused": "yellow",
    "deferred": "yellow",
    "cancelling": "yellow",
    "cancelled": "secondary",
    "suppressed": "secondary",
    "sent": "green",
    "finished": "green",
    "failed": "red",
    "active": "green",
    "waiting": "yellow",
    "found": "green",
    "missing": "red",
    "healthy": "green",
    "off": "secondary",
    "failing": "red",
}


@cache
def _svg(name: str) -> str:
    """The drawing inside a Tabler icon's <svg>. `name` is as in package.json: outline/home."""
    path = finders.find(f"vendor/icons/{name}.svg")
    if not path:
        raise LookupError(f'No icon {name!r}: name it under "icons" in package.json, then `make`.')
    found = re.search(r"<svg[^>]*>(.*)</svg>", Path(str(path)).read_text(), re.DOTALL)
    if found is None:
        raise LookupError(f"{path} is not an SVG drawing.")
    return found[1].strip()


@register.simple_tag
def icon(name: str, css: str = "") -> SafeString:
    """{% icon "home" %}: an icon beside words. Decoration only, so assistive tools skip it."""
    return format_html(
        '<svg class="icon {}" width="24" height="24" viewBox="0 0 24 24" fill="none" '
        'stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" '
        'aria-hidden="true" focusable="false">{}</svg>',
        css,
        mark_safe(_svg(name if "/" in name else f"outline/{name}")),
    )


@register.inclusion_tag("_nav_link.html", takes_context=True)
def nav_link(
    context: Context,
    url_name: str,
    label: str,
    icon: str,
    also: str = "",
    *,
    of_workspace: bool = True,
) -> dict[str, Any]:
    """A link of the sidebar; current on pages of its app, or its pages as listed in `also`.

    `url_name` is "app:page". With `also` ("page page …") only these pages of the app count.
    Pages of the installation, and not of one workspace: `of_workspace=False`.
    """
    request, workspace = context["request"], context["workspace"]
    app, page = url_name.split(":")
    match = getattr(request, "resolver_match", None)
    current = match is not None and match.app_name == app
    if match is not None and also:
        current = current and match.url_name in {page, *also.split()}
    return {
        "url": reverse(url_name, args=[workspace.slug] if of_workspace else []),
        "label": label,
        "icon": icon,
        "current": current,
    }


@register.simple_tag(takes_context=True)
def current_workspace(context: Context) -> Any:
    """The page's workspace, or for pages outside any (the profile) the person's first one."""
    request = context.get("request")
    if workspace := getattr(request, "workspace", None):
        return workspace
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    return user.workspaces.order_by("name").first()


@register.filter
def widget(field: BoundField) -> SafeString:
    """A form field's widget with the class that Tabler expects for it."""
    kind = field.field.widget
    css = "form-control"
    if isinstance(kind, forms.CheckboxInput):
        css = "form-check-input"
    elif isinstance(kind, forms.Select) and not isinstance(kind, forms.RadioSelect):
        css = "form-select"
    css = f"{css} {kind.attrs.get('class', '')}{' is-invalid' if field.errors else ''}"
    return field.as_widget(attrs={"class": " ".join(css.split())})


@register.filter
def check(choice: BoundWidget) -> SafeString:
    """One radio button or checkbox of a group."""
    choice.data["attrs"]["class"] = "form-check-input"
    return choice.tag()


@register.filter
def is_checkbox(field: BoundField) -> bool:
    return type(field.field.widget) is forms.CheckboxInput


@register.filter
def is_group(field: BoundField) -> bool:
    """Several radio buttons or checkboxes, which need a fieldset with a legend."""
    return isinstance(field.field.widget, forms.RadioSelect | forms.CheckboxSelectMultiple)


@register.simple_tag
def badge(code: str, label: str) -> SafeString:
    """A state or verdict as a coloured word; the colour repeats what the word says."""
    return format_html(
        '<span class="badge bg-{}-lt">{}</span>', TONES.get(code, "secondary"), label
    )


@register.simple_tag
def meter(value: float | None, maximum: float | None, label: str) -> SafeString:
    """A progress bar; without a maximum, one that only shows that something moves."""
    if not maximum:
        return format_html('<progress class="meter" aria-label="{}"></progress>', label)
    return format_html(
        '<progress class="meter" aria-label="{}" value="{}" max="{}"></progress>',
        label,
        str(min(value or 0, maximum)),
        str(maximum),
    )


@register.filter
def time_left(seconds: float | None) -> str:
    """Seconds as people say them: "40 s", "3 min", "2 h 5 min". Rounded up, never "0 s"."""
    if seconds is None:
        return ""
    whole = max(1, round(seconds))
    if whole < 60:
        return gettext("%(seconds)d s") % {"seconds": whole}
    minutes = -(-whole // 60)
    if minutes < 60:
        return gettext("%(minutes)d min") % {"minutes": minutes}
    return gettext("%(hours)d h %(minutes)d min") % {
        "hours": minutes // 60,
        "minutes": minutes % 60,
    }


@register.filter
def rate(per_second: float | None) -> str:
    """Something a second: "1,250 / s"; slow ones a minute, so that they do not show as 0."""
    if not per_second:
        return ""
    if per_second >= 10:
        return gettext("%(count)s / s") % {"count": intcomma(round(per_second))}
    return gettext("%(count)s / min") % {"count": intcomma(max(1, round(per_second * 60)))}


@register.filter
def share(part: int | None, whole: int | None) -> str:
    """A part of a whole in percent. Only all is 100 % and only nothing is 0 %."""
    if not whole:
        return ""
    percent = 100 * (part or 0) / whole
    if 0 < percent < 1:
        return gettext("<1%%") % ()
    return gettext("%(percent)d%%") % {"percent": int(percent)}


@register.filter
def contacts_word(count: int, most: int | None = None) -> str:
    """ "5 contacts"; with the most that is counted, "10,000+ contacts" beyond it."""
    text = intcomma(count) if most is None else capped(count, most)
    number = count if most is None else min(count, most)
    return ngettext("%(count)s contact", "%(count)s contacts", number) % {"count": text}


@register.filter
def capped(count: int, most: int) -> str:
    """A figure that is counted no further than one beyond `most`: "10,000+"."""
    return f"{intcomma(most)}+" if count > most else intcomma(count)


@register.simple_tag
def signup_open() -> bool:
    return bool(settings.SIGNUP_OPEN)
