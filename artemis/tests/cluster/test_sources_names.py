"""Names in DNS that stand for the nodes: addresses by the system, SRV records by a name server that answers here."""

import socket
import threading
from collections.abc import Callable, Iterator

import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest

from artemis.cluster.sources.listing import SourceError
from artemis.cluster.sources.names import PeersName

NAME = "_artemis._tcp.example.com."
Answer = Callable[[dns.message.Message], dns.message.Message]


def records(*texts: str) -> Answer:
    """An answer with these SRV records."""

    def answer(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if texts:
            response.answer.append(dns.rrset.from_text(NAME, 1, "IN", "SRV", *texts))
        return response

    return answer


def code(rcode: int) -> Answer:
    """An answer that only says this."""

    def answer(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        response.set_rcode(dns.rcode.Rcode(rcode))
        return response

    return answer


@pytest.fixture
def name_server() -> Iterator[Callable[[Answer], PeersName]]:
    """Makes a source whose name server gives an answer."""
    servers: list[tuple[socket.socket, threading.Thread]] = []

    def serve(server: socket.socket, answer: Answer) -> None:
        while True:
            data, peer = server.recvfrom(4096)
            if not data:
                return
            server.sendto(answer(dns.message.from_wire(data)).to_wire(), peer)

    def source(answer: Answer) -> PeersName:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=serve, args=(server, answer))
        thread.start()
        servers.append((server, thread))
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], server.getsockname()[1]
        return PeersName(NAME.rstrip("."), scheme="http", port=8080, every=10.0, resolver=resolver)

    yield source
    for server, thread in servers:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", server.getsockname())
        thread.join()
        server.close()


def named(source: PeersName) -> list[str]:
    """The URLs that a source names."""
    return [str(url) for url in source.read()]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("127.0.0.1", ["http://127.0.0.1:8080"]),
        ("127.0.0.1:9090", ["http://127.0.0.1:9090"]),
        ("localhost:81", ["http://127.0.0.1:81"]),
    ],
)
def test_addresses_of_a_name_are_nodes(name: str, expected: list[str]) -> None:
    """On the port that the name says, or on that of this node; each address once."""
    assert set(expected) <= set(named(PeersName(name, scheme="http", port=8080, every=1.0)))


def test_a_name_that_does_not_exist_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """So says the system; what may have another reason is a failure."""
    source = PeersName("artemis.invalid", scheme="http", port=1, every=1.0)

    def fail(error: OSError) -> Callable[..., list[object]]:
        def getaddrinfo(*_: object, **__: object) -> list[object]:
            raise error

        return getaddrinfo

    monkeypatch.setattr(socket, "getaddrinfo", fail(socket.gaierror(socket.EAI_NONAME, "unknown")))
    assert [] == source.read()
    monkeypatch.setattr(socket, "getaddrinfo", fail(socket.gaierror(socket.EAI_AGAIN, "try again")))
    with pytest.raises(SourceError, match="it cannot be resolved: try again"):
        source.read()


def test_addresses_with_a_scope_are_left_out_and_others_keep_their_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPv6 beside IPv4."""
    found = [(0, 0, 0, "", (host, 1)) for host in ("fe80::1%eth0", "2001:db8::2", "10.0.0.2", "10.0.0.2")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    source = PeersName("artemis", scheme="https", port=8443, every=1.0)
    assert ["https://10.0.0.2:8443", "https://[2001:db8::2]:8443"] == named(source)


def test_services_name_hosts_and_ports(name_server: Callable[[Answer], PeersName]) -> None:
    """Whatever their priority: all of them are members."""
    source = name_server(records("0 5 8080 node-0.example.com.", "9 5 9090 NODE-1.example.com."))
    assert ["http://node-1.example.com:9090", "http://node-0.example.com:8080"] == named(source)


@pytest.mark.parametrize("answer", [records(), code(dns.rcode.NXDOMAIN), records("0 0 0 .")])
def test_no_service_is_an_empty_answer(name_server: Callable[[Answer], PeersName], answer: Answer) -> None:
    """No records, no such name, or the record that says there is none."""
    assert [] == name_server(answer).read()


def test_a_name_server_that_fails_is_a_failure(name_server: Callable[[Answer], PeersName]) -> None:
    """Nobody takes it for an empty answer."""
    with pytest.raises(SourceError, match="its SRV records cannot be had"):
        name_server(code(dns.rcode.SERVFAIL)).read()


@pytest.mark.parametrize(("every", "expected"), [(1.0, 30_000), (60.0, 180_000)])
def test_an_empty_answer_is_believed_after_a_while(every: float, expected: int) -> None:
    """Half a minute, and three readings."""
    assert expected == PeersName("a", scheme="http", port=1, every=every).empty_after
