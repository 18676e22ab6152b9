"""Changing how a workspace sends: policy, limits, warm-up plans. All raise NotAllowed."""

from __future__ import annotations

from datetime import date

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Membership, Workspace
from apps.senders.models import ProviderLimit, SendingDomain, SendingPolicy, WarmUp
from core.errors import InvalidInput, NotAllowed


def save_policy(*, workspace: Workspace, by: Membership, **values: object) -> None:
    require_owner(workspace.pk, by)
    SendingPolicy.objects.update_or_create(
        workspace=workspace, defaults=values | {"updated_at": timezone.now()}
    )


def save_provider_limit(
    *, workspace: Workspace, by: Membership, provider: str, **limits: int | None
) -> None:
    """These limits, empty ones too, take the place of the provider's defaults."""
    require_owner(workspace.pk, by)
    ProviderLimit.objects.update_or_create(workspace=workspace, provider=provider, defaults=limits)


def reset_provider_limit(*, workspace: Workspace, by: Membership, provider: str) -> None:
    require_owner(workspace.pk, by)
    ProviderLimit.objects.filter(workspace=workspace, provider=provider).delete()


def save_domain_limits(*, domain: SendingDomain, by: Membership, **limits: int | None) -> None:
    require_owner(domain.workspace_id, by)
    SendingDomain.objects.filter(pk=domain.pk).update(**limits)


def save_warm_up(
    *,
    by: Membership,
    domain: SendingDomain,
    provider: str,
    start: int,
    growth_percent: int,
    ceiling: int,
    started_on: date,
    warm_up: WarmUp | None = None,
) -> None:
    """Make a plan or change one. Raises InvalidInput where the domain has one for the provider."""
    require_owner(domain.workspace_id, by)
    changed = WarmUp(
        pk=warm_up.pk if warm_up else None,
        domain=domain,
        provider=provider,
        start=start,
        growth_percent=growth_percent,
        ceiling=ceiling,
        started_on=started_on,
    )
    try:
        with transaction.atomic():
            changed.save()
    except IntegrityError as error:
        raise InvalidInput(_("There is a plan for this domain and provider already.")) from error


def delete_warm_up(*, warm_up: WarmUp, by: Membership) -> None:
    require_owner(warm_up.domain.workspace_id, by)
    warm_up.delete()


def require_owner(workspace_id: int, by: Membership) -> None:
    if not by.is_owner or by.workspace_id != workspace_id:
        raise NotAllowed(_("Only an owner of the workspace can change how it sends."))
