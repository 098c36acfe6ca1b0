"""Where a process can be reached, found out for an instance that only says its port."""

import socket

import pytest

from artemis import ArtemisClient, ClientOptions, Instance, UnreachableError, own_address
from artemis.client.registration.instances import completed, needs_address


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARTEMIS_IP", raising=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "https://127.0.0.1", "http://localhost:1/prefix"])
async def test_towards_a_registry_on_loopback_the_own_address_is_loopback(url: str) -> None:
    """Everything is on one machine then."""
    assert await own_address(url) in {"127.0.0.1", "::1"}


async def test_towards_another_network_the_own_address_is_one_of_this_machine() -> None:
    """An address that can be bound to, and not loopback; nothing is sent to find it."""
    try:
        address = await own_address("http://192.0.2.1:8080")
    except OSError:
        pytest.skip("this machine has no route to other networks")
    assert not address.startswith("127.")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))


async def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind address translation nobody else can know; blank is as good as not set."""
    monkeypatch.setenv("ARTEMIS_IP", " 198.51.100.7 ")
    assert await own_address("http://127.0.0.1:8080") == "198.51.100.7"
    monkeypatch.setenv("ARTEMIS_IP", " ")
    assert await own_address("http://127.0.0.1:8080") == "127.0.0.1"


async def test_a_name_that_nobody_knows_is_an_error_that_may_pass() -> None:
    """It names what can be done."""
    options = ClientOptions(attempts=1, attempt_timeout=1.0)
    async with ArtemisClient(servers=["http://nowhere.invalid:1"], region_id="r", zone_id="z", options=options) as one:
        with pytest.raises(UnreachableError, match="ARTEMIS_IP"):
            await one.registered(Instance(service_id="orders", port=9000)).__aenter__()


async def test_a_port_is_enough_to_be_registered(client: ArtemisClient, service_id: str) -> None:
    """Id and url are derived from the address that was found, and the machine is named."""
    async with client.registered(Instance(service_id=service_id, port=9000)) as registration:
        one = registration.instance
        assert (one.ip, one.instance_id, one.url) == ("127.0.0.1", "127.0.0.1:9000", "http://127.0.0.1:9000")
        assert one.machine_name == socket.gethostname()
        [service] = await client.api.lookup([service_id])
        assert service.instances == [one]
        await registration.update(Instance(service_id=service_id, port=9000, group_id="blue"))
        assert registration.instance.group_id == "blue"


async def test_what_is_wrong_is_told_before_an_address_is_looked_for(client: ArtemisClient) -> None:
    """By the call itself, as for every instance; far behind, when entering."""
    with pytest.raises(ValueError, match="service_id"):
        client.registered(Instance(port=9000))
    with pytest.raises(TypeError, match="port"):
        client.registered(Instance(service_id="orders", port="9000"))  # type: ignore[arg-type]
    many = [Instance(service_id="orders", instance_id=f"i{number}", url="http://x") for number in range(500)]
    with pytest.raises(TypeError, match="port"):
        await client.registered(*many, Instance(service_id="orders", port="9000")).__aenter__()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("instance", "needed"),
    [
        (Instance(port=1), True),
        (Instance(port=1, ip=" "), True),
        (Instance(port=1, ip="h"), False),
        (Instance(port=1, url="http://x"), False),
        (Instance(), False),
    ],
)
def test_an_address_is_needed_where_a_port_stands_alone(instance: Instance, needed: bool) -> None:
    """Who gives a url, or an ip, is taken at their word."""
    assert needs_address(instance) is needed


def test_an_ipv6_address_is_bracketed_in_the_url() -> None:
    """And the machine's name is not put in place of one that is given."""
    whole = completed(
        Instance(service_id="s", port=1, machine_name="mine"),
        region_id="r",
        zone_id="z",
        address="2001:db8::1",
        machine_name="host",
    )
    assert (whole.ip, whole.url, whole.machine_name) == ("2001:db8::1", "http://[2001:db8::1]:1", "mine")
