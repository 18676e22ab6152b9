"""Forms of templates, blocks and pictures."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.content.models import Block, Editor, Template
from mailkit.pictures import Crop


class TemplateForm(forms.Form):
    """A template as the editor's page shows it; in the builder only its name."""

    name = forms.CharField(label=_("Template name"), max_length=150)
    design = forms.CharField(
        label=_("Letter"), required=False, strip=False, widget=forms.Textarea(attrs={"rows": 18})
    )
    html = forms.CharField(
        label=_("HTML"), required=False, strip=False, widget=forms.Textarea(attrs={"rows": 18})
    )
    version = forms.CharField(widget=forms.HiddenInput, required=False)

    @classmethod
    def of(cls, template: Template) -> TemplateForm:
        return cls(
            initial={
                "name": template.name,
                "design": template.design,
                "html": template.html,
                "version": template.updated_at.isoformat(),
            }
        )


class NewTemplateForm(forms.Form):
    name = forms.CharField(label=_("Template name"), max_length=150)
    editor = forms.ChoiceField(
        label=_("Make it in"), choices=Editor.choices, initial=Editor.BUILDER
    )


class BlockForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=100)
    kind = forms.ChoiceField(
        label=_("For"), choices=Block.Kind.choices, widget=forms.RadioSelect, initial="mjml"
    )
    source = forms.CharField(
        label=_("Source"),
        strip=False,
        widget=forms.Textarea(attrs={"rows": 14, "class": "font-monospace", "spellcheck": "false"}),
        help_text=_("Merge fields work here as in a letter."),
    )


class PictureForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=150)
    alt = forms.CharField(
        label=_("Alternative text"),
        max_length=300,
        required=False,
        help_text=_("What the picture shows, for those who do not see it. It goes into letters."),
    )


class CropForm(forms.Form):
    """A part of the picture in its own pixels, and the width it gets."""

    left = forms.IntegerField(label=_("Left"), min_value=0)
    top = forms.IntegerField(label=_("Top"), min_value=0)
    width = forms.IntegerField(label=_("Width of the part"), min_value=1)
    height = forms.IntegerField(label=_("Height of the part"), min_value=1)
    to_width = forms.IntegerField(label=_("New width"), min_value=1, max_value=2000)

    def crop(self) -> Crop:
        return Crop(**self.cleaned_data)
