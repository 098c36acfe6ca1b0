"""A client that does on the wire what the Java SDK does (spec 9), for conformance tests and as a load generator.

::

    async with JavaClient("http://127.0.0.1:8080", region_id="local", zone_id="zone1") as client:
        await client.registry.register({"serviceId": "orders", "instanceId": "10.0.0.7", "url": "http://10.0.0.7/"})
        service = await client.discovery.service("orders")

Every deadline of the SDK is kept, counted and timed (`Deadlines`). Nothing here uses the server's code or its model, so
that a mistake there is not made here too. It is not a client for applications: services use ``artemis.ArtemisClient``.
"""

from artemis.testing.java.addresses import Addresses
from artemis.testing.java.beans import discovery_config, instance, jackson
from artemis.testing.java.client import JavaClient
from artemis.testing.java.deadlines import Deadlines, DeadlinesState, Histogram, Kind, OwnLateness
from artemis.testing.java.discovery import DiscoveryClient
from artemis.testing.java.http import CallFailedError, HttpClient, HttpFailedError
from artemis.testing.java.node import JavaNode, JavaNodeSettings
from artemis.testing.java.registry import RegistryClient
from artemis.testing.java.session import Session
from artemis.testing.java.settings import JavaSettings
from artemis.testing.java.websocket import WebSocket, WebSocketFailedError, open_websocket

__all__ = [
    "Addresses",
    "CallFailedError",
    "Deadlines",
    "DeadlinesState",
    "DiscoveryClient",
    "Histogram",
    "HttpClient",
    "HttpFailedError",
    "JavaClient",
    "JavaNode",
    "JavaNodeSettings",
    "JavaSettings",
    "Kind",
    "OwnLateness",
    "RegistryClient",
    "Session",
    "WebSocket",
    "WebSocketFailedError",
    "discovery_config",
    "instance",
    "jackson",
    "open_websocket",
]
