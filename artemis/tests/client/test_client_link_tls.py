"""TLS on every kind of connection of a client: what is trusted, and what comes of it when something is not."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from awaited import first
from link_peers import Wire, wired

from artemis import ArtemisClient, ClientOptions, Instance, LinkChanged, LinkKind, UnreachableError
from artemis.client.links.java import open_java
from artemis.client.links.link import Link, LinkFailure
from artemis.client.links.msgtrans import open_msgtrans
from msgtrans import ConfigurationError, TlsClientConfig

KINDS = pytest.mark.parametrize("kind", [LinkKind.MSGTRANS, LinkKind.WEBSOCKET, LinkKind.JAVA_WEBSOCKET])
OPTIONS = ClientOptions(attempts=1, link_timeout=5.0, attempt_timeout=5.0, address_interval=0.0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, str]:
    """Make an authority, and a file of its certificate."""
    one = trustme.CA()
    path = tmp_path_factory.mktemp("tls") / "authority.pem"
    one.cert_pem.write_to_path(str(path))
    return one, str(path)


@pytest.fixture
async def secure(node_url: str, authority: tuple[trustme.CA, str]) -> AsyncIterator[Wire]:
    """Stand before a node with a certificate for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority[0].issue_cert("127.0.0.1").configure_cert(context)
    async with wired(int(node_url.rpartition(":")[2]), context) as wire:
        yield wire


async def opened(kind: LinkKind, url: str, tls: TlsClientConfig | None) -> Link:
    """Open a link."""
    if kind is LinkKind.JAVA_WEBSOCKET:
        return await open_java(url, OPTIONS, tls, 300.0, lambda _: None)
    return await open_msgtrans(kind, url, OPTIONS, tls, lambda _: None)


@KINDS
async def test_a_trusted_certificate_is_enough(secure: Wire, authority: tuple[trustme.CA, str], kind: LinkKind) -> None:
    """For calls and for each kind of link."""
    link = await opened(kind, secure.url, TlsClientConfig(ca_file=authority[1]))
    assert not (await link.confirm()).age
    await link.close()


async def test_a_client_does_all_of_it_inside_tls(
    secure: Wire, authority: tuple[trustme.CA, str], service_id: str
) -> None:
    """One option holds for HTTP and for the link."""
    tls = TlsClientConfig(ca_file=authority[1])
    async with ArtemisClient(
        servers=[secure.url], region_id="local", zone_id="zone1", tls=tls, options=OPTIONS
    ) as client:
        events = client.events()
        async with client.registered(Instance(service_id=service_id, ip="127.0.0.1", port=9000)):
            assert LinkKind.MSGTRANS is (await first(events, LinkChanged)).new


@KINDS
async def test_a_certificate_that_is_not_trusted_is_told_of_and_nothing_else_is_tried(
    secure: Wire, kind: LinkKind
) -> None:
    """Verification is never switched off by itself."""
    with pytest.raises(LinkFailure, match="certificate") as caught:
        await opened(kind, secure.url, None)
    assert caught.value.offered is True
    async with ArtemisClient(servers=[secure.url], region_id="local", options=OPTIONS) as client:
        with pytest.raises(UnreachableError, match="its certificate is not accepted"):
            await client.service("orders")


@KINDS
async def test_tls_where_there_is_none_fails_with_a_reason(node_url: str, kind: LinkKind) -> None:
    """The node is there, but not by that name."""
    with pytest.raises(LinkFailure, match="TLS") as caught:
        await opened(kind, node_url.replace("http:", "https:"), None)
    assert caught.value.offered is True


@KINDS
async def test_no_tls_where_there_is_some_fails(secure: Wire, kind: LinkKind) -> None:
    """Whatever the peer makes of it."""
    with pytest.raises(LinkFailure):
        await opened(kind, secure.url.replace("https:", "http:"), None)


def test_files_that_cannot_be_used_are_told_of_when_the_client_is_made(tmp_path: Path) -> None:
    """Not with the first call."""
    with pytest.raises(ConfigurationError, match="does not exist"):
        ArtemisClient(servers=["https://127.0.0.1"], tls=TlsClientConfig(ca_file=str(tmp_path / "none.pem")))
