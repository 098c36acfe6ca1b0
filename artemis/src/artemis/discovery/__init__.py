"""What callers are shown: answers about services, encoded once and kept until they change. Pure code."""

from artemis.discovery.answers import Elsewhere, LookupAnswer, ServiceAnswer, ServicesAnswer
from artemis.discovery.catalog import Catalog, Transition
from artemis.discovery.picking import Picker
from artemis.discovery.views import DiscoveryFilter, ServiceDraft, ServiceView

__all__ = [
    "Catalog",
    "DiscoveryFilter",
    "Elsewhere",
    "LookupAnswer",
    "Picker",
    "ServiceAnswer",
    "ServiceDraft",
    "ServiceView",
    "ServicesAnswer",
    "Transition",
]
