"""The pages of saved blocks."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.http import WorkspaceRequest
from apps.content.forms import BlockForm
from apps.content.models import Block
from apps.content.selectors import blocks_of
from apps.content.services.blocks import create_block, delete_block, update_block
from core.errors import AppError
from mailkit.mjml import for_builder


@require_GET
def blocks(request: WorkspaceRequest) -> HttpResponse:
    return render(request, "content/blocks.html", {"blocks": blocks_of(request.workspace)})


@require_http_methods(["GET", "POST"])
def block_new(request: WorkspaceRequest) -> HttpResponse:
    return _edit(request, None)


@require_http_methods(["GET", "POST"])
def block_edit(request: WorkspaceRequest, pk: int) -> HttpResponse:
    return _edit(request, get_object_or_404(Block, pk=pk, workspace=request.workspace))


def _edit(request: WorkspaceRequest, block: Block | None) -> HttpResponse:
    initial = {"name": block.name, "kind": block.kind, "source": block.source} if block else None
    form = BlockForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            if block:
                update_block(block=block, **form.cleaned_data)
            else:
                create_block(workspace=request.workspace, **form.cleaned_data)
        except AppError as error:
            form.add_error(None, error.message)
        else:
            messages.success(request, _("The block is saved."))
            return redirect("content:blocks", request.workspace.slug)
    status = 422 if form.errors else 200
    return render(request, "content/block.html", {"form": form, "block": block}, status=status)


@require_POST
def block_save(request: WorkspaceRequest) -> HttpResponse:
    """From the builder: the part that was chosen there."""
    block = create_block(
        workspace=request.workspace,
        name=request.POST.get("name", ""),
        kind=Block.Kind.MJML,
        source=request.POST.get("source", ""),
    )
    return JsonResponse({"name": block.name, "source": for_builder(block.source)}, status=201)


@require_http_methods(["GET", "POST"])
def block_delete(request: WorkspaceRequest, pk: int) -> HttpResponse:
    block = get_object_or_404(Block, pk=pk, workspace=request.workspace)
    if request.method == "POST":
        delete_block(block=block)
        messages.success(request, _("The block is deleted."))
        return redirect("content:blocks", request.workspace.slug)
    return render(request, "content/block_delete.html", {"block": block})
