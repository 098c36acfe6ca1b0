"""The SDK for code that blocks: ``from artemis.sync import ArtemisClient``, with the words of the async client.

Everything that is not blocking or async (instances, options, errors, events) comes from `artemis` as always.
"""

from artemis.client.sync.api import RegistryApi
from artemis.client.sync.balancer import Balancer
from artemis.client.sync.client import ArtemisClient
from artemis.client.sync.elsewhere import OtherRegion
from artemis.client.sync.iteration import Events, Watch
from artemis.client.sync.listener import Listener
from artemis.client.sync.registration import Registration

__all__ = ["ArtemisClient", "Balancer", "Events", "Listener", "OtherRegion", "Registration", "RegistryApi", "Watch"]
