from django.urls import path

from apps.senders.views import domains, policy, relays

app_name = "senders"
urlpatterns = [
    path("", relays.relays, name="relays"),
    path("relays/new/", relays.relay_add, name="relay_add"),
    path("relays/<int:pk>/", relays.relay_edit, name="relay_edit"),
    path("relays/<int:pk>/check/", relays.relay_check, name="relay_check"),
    path("relays/<int:pk>/switch/", relays.relay_switch, name="relay_switch"),
    path("relays/<int:pk>/delete/", relays.relay_delete, name="relay_delete"),
    path("domains/", domains.domains, name="domains"),
    path("domains/add/", domains.domain_add, name="domain_add"),
    path("domains/<int:pk>/", domains.domain, name="domain"),
    path("domains/<int:pk>/records/", domains.domain_records, name="domain_records"),
    path("domains/<int:pk>/check/", domains.domain_check, name="domain_check"),
    path("domains/<int:pk>/delete/", domains.domain_delete, name="domain_delete"),
    path("domains/<int:pk>/keys/<int:key_pk>/rotate/", domains.key_rotate, name="key_rotate"),
    path("limits/", policy.limits, name="limits"),
    path("limits/policy/", policy.policy_edit, name="policy_edit"),
    path("limits/providers/<slug:provider>/", policy.provider_edit, name="provider_limit"),
    path("limits/domains/<int:pk>/", policy.domain_edit, name="domain_limits"),
    path("limits/warm-up/new/", policy.warm_up_add, name="warm_up_add"),
    path("limits/warm-up/<int:pk>/", policy.warm_up_edit, name="warm_up_edit"),
    path("limits/warm-up/<int:pk>/delete/", policy.warm_up_delete, name="warm_up_delete"),
]
