"""Connecting over QUIC: names to addresses, one after the other, until a handshake is done; and, where the server
refuses what is offered of application protocols, what is offered next.

Not here: how long that may take (`transport`).
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from msgtrans.adapters import sockets
from msgtrans.adapters.quic.certificates import client_configuration
from msgtrans.adapters.quic.client_socket import ClientSocket
from msgtrans.adapters.quic.connection import QuicLink
from msgtrans.adapters.quic.driving import QuicTerms
from msgtrans.adapters.quic.endings import ProtocolRefusedError
from msgtrans.adapters.quic.library import HoldableConnection
from msgtrans.config import Address, parse_address
from msgtrans.errors import ConnectError

if TYPE_CHECKING:
    from msgtrans.adapters.quic.library import QuicConfiguration
    from msgtrans.adapters.quic.offering import Offers
    from msgtrans.config import QuicClientConfig
    from msgtrans.transport import Host

SCHEMES = ("quic",)


async def connect(config: QuicClientConfig, host: Host, offers: Offers) -> QuicLink:
    """Connect, with each of the config's offers at most once. Raises ConnectError."""
    target = parse_address(config.target_address, schemes=SCHEMES)
    configuration = client_configuration(config, target.host)
    *others, last = offers.order(config)
    for offer in others:
        with suppress(ProtocolRefusedError):
            link = await _connect_offering(offer, config, host, configuration, target)
            offers.learn(config, offer)
            return link
    link = await _connect_offering(last, config, host, configuration, target)
    offers.learn(config, last)
    return link


async def _connect_offering(
    offer: tuple[str, ...], config: QuicClientConfig, host: Host, configuration: QuicConfiguration, target: Address
) -> QuicLink:
    """Connect once to each address of the target, until one answers."""
    configuration.alpn_protocols = list(offer) or None
    addresses = await _addresses_of(target)
    for number, (family, address) in enumerate(addresses, 1):
        try:
            return await _connect(config, host, configuration, family, address)
        except ConnectError as error:
            if not error.retriable or number == len(addresses):
                raise
    raise ConnectError(f"the name {target.host!r} has no address")


async def _addresses_of(target: Address) -> list[tuple[int, tuple[str, int]]]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)
    except socket.gaierror as error:
        raise ConnectError(f"the name {target.host!r} does not resolve: {error.strerror}") from error
    except UnicodeError as error:
        raise ConnectError(f"the name {target.host!r} does not resolve: it cannot be one", retriable=False) from error
    return [(family, cast("tuple[str, int]", address)) for family, *_, address in found]


async def _connect(
    config: QuicClientConfig, host: Host, configuration: QuicConfiguration, family: int, address: tuple[str, int]
) -> QuicLink:
    loop = asyncio.get_running_loop()
    terms = QuicTerms(host, config)
    local = parse_address(config.local_bind_address, schemes=SCHEMES) if config.local_bind_address else None
    try:
        carrier = ClientSocket(loop, family, address, local, host.counters)
    except OSError as error:
        raise sockets.connect_failed(config.uri, error, config.local_bind_address) from error
    quic = HoldableConnection(configuration=configuration)
    link = carrier.link = QuicLink(terms, quic, carrier, Address(*address[:2]))
    link.connected = loop.create_future()
    try:
        link.connect(address)
        await link.connected
    except BaseException:
        link.abort()
        carrier.close()
        raise
    return link
