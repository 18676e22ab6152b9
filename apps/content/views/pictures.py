"""The pages of the media library."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.http import WorkspaceRequest, keyset_page
from apps.content.forms import CropForm, PictureForm
from apps.content.models import Picture
from apps.content.selectors import pictures_of
from apps.content.services import pictures as services
from core.errors import InvalidInput

PAGE_SIZE = 24


def _picture(request: WorkspaceRequest, pk: int) -> Picture:
    return get_object_or_404(Picture, pk=pk, workspace=request.workspace)


@require_GET
def pictures(request: WorkspaceRequest) -> HttpResponse:
    return render(request, "content/pictures.html", _grid(request))


@require_GET
def picker(request: WorkspaceRequest) -> HttpResponse:
    """The same pictures to choose one from, as a part of the editor's page."""
    return render(request, "content/_picker.html", _grid(request))


def _grid(request: WorkspaceRequest) -> dict[str, object]:
    search = request.GET.get("search", "").strip()
    page = keyset_page(request, pictures_of(request.workspace, search), size=PAGE_SIZE)
    return {"page": page, "search": search}


@require_POST
def upload(request: WorkspaceRequest) -> HttpResponse:
    """Files under `files`; from the picker (htmx) the answer is the picker again."""
    added, error = 0, ""
    for file in request.FILES.getlist("files")[:20]:
        try:
            services.add_picture(
                workspace=request.workspace,
                file=file.file,  # type: ignore[arg-type]
                name=file.name or "",
                alt=request.POST.get("alt", ""),
            )
            added += 1
        except InvalidInput as fault:
            error = f"{file.name}: {fault.message}"
    if not added and not error:
        error = _("Choose a picture first.")
    if request.htmx:
        context = _grid(request) | {"error": error}
        return render(request, "content/_picker.html", context)
    if error:
        messages.error(request, error)
    if added:
        messages.success(request, _("The picture is in the library."))
    return redirect("content:pictures", request.workspace.slug)


@require_http_methods(["GET", "POST"])
def picture(request: WorkspaceRequest, pk: int) -> HttpResponse:
    found = _picture(request, pk)
    form = PictureForm(request.POST or None, initial={"name": found.name, "alt": found.alt})
    if request.method == "POST" and form.is_valid():
        services.describe_picture(picture=found, **form.cleaned_data)
        messages.success(request, _("Saved."))
        return redirect("content:picture", request.workspace.slug, pk)
    context = {"picture": found, "form": form, "crop": _crop_form(found)}
    return render(request, "content/picture.html", context, status=422 if form.errors else 200)


@require_POST
def crop(request: WorkspaceRequest, pk: int) -> HttpResponse:
    found = _picture(request, pk)
    form = CropForm(request.POST)
    if not form.is_valid():
        context = {
            "picture": found,
            "form": PictureForm(initial={"name": found.name, "alt": found.alt}),
            "crop": form,
        }
        return render(request, "content/picture.html", context, status=422)
    made = services.crop_picture(picture=found, crop=form.crop())
    messages.success(request, _("The part is a picture of its own now; the old one stays."))
    return redirect("content:picture", request.workspace.slug, made.pk)


def _crop_form(found: Picture) -> CropForm:
    initial = {
        "left": 0,
        "top": 0,
        "width": found.width,
        "height": found.height,
        "to_width": min(found.width, 1200),
    }
    return CropForm(initial=initial)


@require_http_methods(["GET", "POST"])
def delete(request: WorkspaceRequest, pk: int) -> HttpResponse:
    found = _picture(request, pk)
    if request.method == "POST":
        services.delete_picture(picture=found)
        messages.success(request, _("The picture is deleted."))
        return redirect("content:pictures", request.workspace.slug)
    context = {"picture": found, "used_in": services.used_in(picture=found)}
    return render(request, "content/picture_delete.html", context)
