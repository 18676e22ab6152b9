"""Forms of the limits page."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from django.core.validators import MinValueValidator
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from apps.accounts.forms import time_zones
from apps.senders.models import ProviderLimit, SendingDomain, SendingPolicy, WarmUp
from apps.senders.templatetags.senders import provider_label
from mailkit.providers import PROVIDERS

RATES = ("per_minute", "per_hour", "per_day")
# A day's mail to one provider beyond this is no warm-up, and the sums stay far from the column's
# own bound.
MOST_A_DAY = 100_000_000


class PolicyForm(forms.ModelForm[SendingPolicy]):
    time_zone = forms.ChoiceField(
        label=_("Time zone"),
        help_text=_("Of people whose own time zone is not known, and of the hours allowed."),
    )

    class Meta:
        model = SendingPolicy
        fields: ClassVar = [
            *("retry_for_hours", "hard_bounce_percent", "block_percent", "complaint_percent"),
            *("least_sample", "forecast_percent", "time_zone"),
        ]
        help_texts: ClassVar = {
            "retry_for_hours": _(
                "How long a letter that was put off is tried again, with growing pauses."
            ),
            "hard_bounce_percent": _("Addresses that do not exist."),
            "block_percent": _("Letters refused as spam, by policy, or for SPF, DKIM or DMARC."),
            "complaint_percent": _("Gmail asks senders to stay below 0.3 %."),
            "least_sample": _(
                "So many letters must have been answered before a campaign stops by itself."
            ),
            "forecast_percent": _(
                "Where verification expects more hard bounces, a launch takes an owner's word."
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        zones = time_zones()
        if self.instance.time_zone not in zones:
            zones = [self.instance.time_zone, *zones]
        self.fields["time_zone"].choices = [(name, name.replace("_", " ")) for name in zones]  # type: ignore[attr-defined]


class _LimitForm:
    """Limits are empty or at least 1: to send nothing at all, pause the campaign."""

    fields: dict[str, forms.Field]

    def least_one(self) -> None:
        for field in self.fields.values():
            field.validators.append(MinValueValidator(1))
            field.widget.attrs["min"] = 1


class ProviderLimitForm(_LimitForm, forms.ModelForm[ProviderLimit]):
    class Meta:
        model = ProviderLimit
        fields: ClassVar = [*RATES, "connections"]
        help_texts: ClassVar = {
            "connections": _(
                "How many of all workers' connections may carry letters to this provider."
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.least_one()


class DomainLimitForm(_LimitForm, forms.ModelForm[SendingDomain]):
    class Meta:
        model = SendingDomain
        fields: ClassVar = [*RATES]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.least_one()


class WarmUpForm(forms.ModelForm[WarmUp]):
    provider = forms.ChoiceField(label=_("Provider"), required=False)

    class Meta:
        model = WarmUp
        fields: ClassVar = [
            *("domain", "provider", "start", "growth_percent", "ceiling", "started_on"),
        ]
        labels: ClassVar = {"domain": _("Domain")}
        error_messages: ClassVar = {
            NON_FIELD_ERRORS: {
                "unique_together": _("There is a plan for this domain and provider already.")
            },
        }
        widgets: ClassVar = {
            "started_on": forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        }
        help_texts: ClassVar = {
            "ceiling": _("Stays the limit of a day until you remove the plan."),
            "started_on": _("A day begins at midnight UTC."),
        }

    def __init__(self, *args: Any, domains: QuerySet[SendingDomain], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["domain"].queryset = domains  # type: ignore[attr-defined]
        self.fields["domain"].empty_label = None  # type: ignore[attr-defined]
        self.fields["provider"].choices = [  # type: ignore[attr-defined]
            (key, provider_label(key)) for key in ("", *PROVIDERS)
        ]
        self.fields["growth_percent"].widget.attrs["max"] = 1000
        for name in ("start", "ceiling"):
            self.fields[name].widget.attrs["max"] = MOST_A_DAY

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        for name, most in (
            ("start", MOST_A_DAY),
            ("ceiling", MOST_A_DAY),
            ("growth_percent", 1000),
        ):
            if (values.get(name) or 0) > most:
                self.add_error(name, _("This is more than anybody needs."))
        if (values.get("start") or 0) > (values.get("ceiling") or MOST_A_DAY):
            self.add_error("ceiling", _("This is less than on the first day."))
        return values
