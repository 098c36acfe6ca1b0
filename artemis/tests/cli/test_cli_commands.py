"""The commands against a real node: what goes to stdout, what goes to stderr, which code ends them."""

import json
import os
from collections.abc import Callable

import pytest
from typer.testing import Result

from artemis import __version__
from artemis.cli.parameters import operator_of

Run = Callable[..., Result]


def register(run: Run, service_id: str, *more: str) -> Result:
    """Register an instance of a service."""
    return run("register", "--service", service_id, "--ip", "10.0.0.7", "--port", "80", *more)


def test_register_derives_what_is_left_out(run: Run, fresh_service: str) -> None:
    """Region and zone are the node's, the name and the url those of the address; stdout stays empty without --json."""
    result = register(run, fresh_service, "--metadata", "a=1", "--metadata", "b=x=y")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"Registered {fresh_service}/10.0.0.7:80 at http://10.0.0.7:80." in result.stderr
    assert "lease" in result.stderr
    [instance] = json.loads(run("instances", fresh_service, "--json").stdout)["instances"]
    del instance["machineName"]
    assert instance == {
        "groupId": None,
        "healthCheckUrl": None,
        "instanceId": "10.0.0.7:80",
        "ip": "10.0.0.7",
        "metadata": {"a": "1", "b": "x=y"},
        "port": 80,
        "protocol": None,
        "regionId": "r",
        "serviceId": fresh_service,
        "status": "up",
        "url": "http://10.0.0.7:80",
        "zoneId": "z",
    }


def test_register_takes_the_address_from_the_url(run: Run, fresh_service: str) -> None:
    """A url alone is enough; without a port in it the scheme's own counts."""
    result = run("register", "--service", fresh_service, "--url", "https://shop.example/orders", "--json")
    [instance] = json.loads(result.stdout)["registered"]
    assert (instance["ip"], instance["port"], instance["instanceId"]) == (None, 443, "shop.example:443")
    assert instance["url"] == "https://shop.example/orders"


@pytest.mark.parametrize("option", [("--port", "81"), ("--url", "tcp://broker")])
def test_a_port_or_a_url_is_all_that_is_needed(run: Run, fresh_service: str, option: tuple[str, str]) -> None:
    """As the help says; everything else is derived."""
    assert run("register", "--service", fresh_service, *option).exit_code == 0
    [instance] = json.loads(run("instances", fresh_service, "--json").stdout)["instances"]
    shown = (instance["instanceId"], instance["url"], instance["port"])
    assert shown == (("127.0.0.1:81", "http://127.0.0.1:81", 81) if option[0] == "--port" else ("broker", option[1], 0))


def test_zones_can_be_looked_at_alone(run: Run, fresh_service: str) -> None:
    """In any letter case; a zone without instances is no failure."""
    for number, zone in enumerate(("z", "z2")):
        run("register", "--service", fresh_service, "--instance", f"i{number}", "--port", "1", "--zone", zone)

    def names(*more: str) -> list[str]:
        found = json.loads(run("instances", fresh_service, "--json", *more).stdout)["instances"]
        return [instance["instanceId"] for instance in found]

    assert names() == ["i0", "i1"]
    assert names("--zone", "Z2") == ["i1"]
    result = run("instances", fresh_service, "--zone", "z3")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"{fresh_service} has no live instances in zone z3." in result.stderr


def test_https_at_a_plain_port_is_said(run: Run, cli_node_url: str) -> None:
    """With the way out."""
    result = run("services", server=cli_node_url.replace("http:", "https:"))
    assert (result.exit_code, result.stdout) == (3, "")
    assert "no TLS there" in result.stderr
    assert "http://, not https://" in result.stderr


def test_everything_about_an_instance_can_be_given(run: Run, fresh_service: str) -> None:
    """What is given is not derived."""
    register(run, fresh_service, "--instance", "i1", "--group", "g", "--status", "starting", "--region", "R")
    [instance] = json.loads(run("instances", fresh_service, "--json").stdout)["instances"]
    fields = ("instanceId", "groupId", "status", "regionId")
    assert [instance[field] for field in fields] == ["i1", "g", "starting", "R"]


def test_tables_are_for_people(run: Run, fresh_service: str) -> None:
    """One line an instance or service, complete also in a pipe."""
    register(run, fresh_service, "--metadata", "version=[1]")
    lines = [line.split() for line in run("instances", fresh_service).stdout.splitlines()]
    assert lines == [
        ["INSTANCE", "URL", "ZONE", "GROUP", "STATUS", "METADATA"],
        ["10.0.0.7:80", "http://10.0.0.7:80", "z", "-", "up", "version=[1]"],
    ]
    services = [line.split() for line in run("services").stdout.splitlines()]
    assert services[0] == ["SERVICE", "INSTANCES", "ZONES"]
    assert [fresh_service, "1", "z"] in services


def test_services_for_machines_are_those_of_the_wire(run: Run, fresh_service: str) -> None:
    """Each with its instances."""
    register(run, fresh_service)
    services = json.loads(run("services", "--json").stdout)["services"]
    [service] = [service for service in services if service["serviceId"] == fresh_service]
    assert [instance["instanceId"] for instance in service["instances"]] == ["10.0.0.7:80"]


def test_a_service_without_instances_is_no_failure(run: Run, fresh_service: str) -> None:
    """People get a sentence, machines an empty list."""
    result = run("instances", fresh_service)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"{fresh_service} has no live instances." in result.stderr
    expected = {"serviceId": fresh_service, "instances": []}
    assert json.loads(run("instances", fresh_service, "--json").stdout) == expected


def test_unregister_takes_out_and_says_whether_there_was_anything(run: Run, fresh_service: str) -> None:
    """Letter case does not matter; a repetition succeeds."""
    register(run, fresh_service, "--instance", "i1")
    arguments = ("unregister", "--service", fresh_service, "--instance", "I1")
    first, second = run(*arguments), run(*arguments, "--json")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert f"Unregistered {fresh_service}/I1." in first.stderr
    assert "There was no live" in second.stderr
    key = {"regionId": "r", "serviceId": fresh_service, "instanceId": "I1"}
    assert json.loads(second.stdout) == {"unregistered": [key]}
    assert json.loads(run("instances", fresh_service, "--json").stdout)["instances"] == []


def test_status_shows_the_node(run: Run, cli_node_url: str) -> None:
    """Where it is, and that it serves."""
    result = run("status")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == [cli_node_url, "up", "r", "z", "yes", "yes"]
    document = json.loads(run("status", "--json").stdout)
    assert (document["server"], document["nodeStatus"]["status"]) == (cli_node_url, "up")


def test_a_refusal_ends_with_code_1_and_the_reason(run: Run, fresh_service: str) -> None:
    """A node answered, and the answer is no."""
    result = register(run, fresh_service, "--region", "elsewhere")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no-permission" in result.stderr
    assert "Leave --region elsewhere out" in result.stderr
    assert run("instances", fresh_service, "--region", "elsewhere").exit_code == 1
    unregister = ("unregister", "--service", fresh_service, "--instance", "i", "--region", "elsewhere")
    assert run(*unregister).exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("services",),
        ("instances", "s"),
        ("status",),
        ("watch", "s"),
        ("register", "--service", "s", "--port", "1"),
        ("unregister", "--service", "s", "--instance", "i"),
    ],
)
def test_without_a_node_every_command_ends_with_code_3_and_says_what_to_do(
    run: Run, unused_tcp_port: int, arguments: tuple[str, ...]
) -> None:
    """Nothing on stdout; the address, the reason and the way out on stderr."""
    server = f"http://127.0.0.1:{unused_tcp_port}"
    result = run(*arguments, server=server)
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"No registry answers at {server}: Connection refused." in result.stderr
    assert "artemis serve" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("services", "--server", "nonsense"), "not the URL of a node"),
        (("register", "--service", "s"), "--port / --url: one of them is needed"),
        (
            ("register", "--service", "s", "--instance", "i", "--ip", "10.0.0.1"),
            "--port / --url: one of them is needed",
        ),
        (("register", "--service", "s", "--port", "1", "--ip", "not an ip"), "--ip: 'not an ip' is not an IP address"),
        (("register", "--service", "s", "--url", "garbage", "--instance", "x"), "--url: 'garbage' is not a URL"),
        (("register", "--service", "s", "--url", "http://a b"), "--url: 'http://a b' is not a URL"),
        (("register", "--service", "s", "--url", "http://h:0"), "--url: 'http://h:0' names port 0"),
        (("register", "--service", " ", "--port", "1"), "--service: must not be blank"),
        (("unregister", "--service", "s", "--instance", ""), "--instance: must not be blank"),
        (("unregister", "--service", "s", "--instance", "i", "--zone", "z"), "No such option: --zone"),
        (("instances", " "), "must not be blank"),
        (("watch", " "), "must not be blank"),
        (("register", "--service", "s", "--port", "1", "--metadata", "novalue"), "is not KEY=VALUE"),
        (("register", "--service", "s", "--url", "http://h:99999"), "--url"),
        (("register", "--service", "s", "--port", "70000"), "--port"),
        (("instances",), "Missing argument"),
        (("nonsense",), "No such command"),
    ],
)
def test_a_wrong_command_line_ends_with_code_2(run: Run, arguments: tuple[str, ...], complaint: str) -> None:
    """The message names what is wrong."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("register", "--service", "s", "--port", "x"), "'--port': must be a whole number from 1 to 65535, not 'x'"),
        (
            ("register", "--service", "s", "--port", "1.5"),
            "'--port': must be a whole number from 1 to 65535, not '1.5'",
        ),
        (
            ("run", "--service", "s", "--port", "65536", "--", "true"),
            "must be a whole number from 0 to 65535, not '65536'",
        ),
        (("cluster", "leave", "--timeout", "0.5"), "'--timeout': must be a number of at least 1, not '0.5'"),
        (("cluster", "leave", "--timeout", "nan"), "'--timeout': must be a number of at least 1, not 'nan'"),
        (("watch", "s", "--interval", "inf"), "'--interval': must be a number of at least 0.1, not 'inf'"),
        (("demo", "--lease-ttl", "61"), "'--lease-ttl': must be a number from 2 to 60, not '61'"),
        (("cluster", "force", "banana"), "'what': must be one of up, down, off, not 'banana'"),
        (("cluster", "force", "up", "--service", "all"), "must be one of registry, discovery, both, not 'all'"),
        (("preservation", "ON"), "'switch': must be one of on, off, not 'ON'"),
    ],
)
def test_a_value_that_an_option_does_not_take_is_answered_by_what_it_takes(
    run: Run, arguments: tuple[str, ...], complaint: str
) -> None:
    """In the words in which `serve` says it of the options of a node."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in " ".join(result.stderr.split())


def test_the_help_of_register_shows_one_default_each(run: Run) -> None:
    """What is derived is not shown as 0 as well."""
    lines = " ".join(run("register", "--help").stdout.split())
    assert "--port PORT Its port. [default: from --url] [1<=x<=65535]" in lines


def test_the_version_is_told(run: Run) -> None:
    """For people and scripts alike."""
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"artemis {__version__}\n")


def test_the_help_names_every_command(run: Run) -> None:
    """Without loading what only one of them needs."""
    output = run("--help").stdout
    for command in ("services", "instances", "watch", "status", "register", "unregister", "serve", "demo"):
        assert f"  {command} " in output


@pytest.mark.parametrize("server", ["ftp://x", "http://127.0.0.1:1,http://127.0.0.1:2", "nonsense", ""])
@pytest.mark.parametrize("command", ["services", "status", "pullouts", "backup x", "cluster status", "cluster stay"])
def test_what_is_no_url_of_a_node_is_a_wrong_command_line(run: Run, command: str, server: str) -> None:
    """Of each command; that nobody answers there would be beside the point."""
    result = run(*command.split(), "--server", server)
    assert (2, True) == (result.exit_code, "not the URL of a node" in result.stderr), result.output


def test_a_doctor_is_given_urls_of_nodes(run: Run, cli_node_url: str) -> None:
    """All of them are looked at before any node is asked."""
    result = run("doctor", "--server", f"{cli_node_url},ftp://x")
    assert (2, True) == (result.exit_code, "not the URL of a node: 'ftp://x'" in result.stderr), result.output


def test_a_user_without_a_name_operates_by_number(
    run: Run, fresh_service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container, which runs as a user that it does not know."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)
    assert 0 == run("pullout", fresh_service, "a").exit_code
    assert "uid-4000000001" == operator_of("")
    assert "alice" == operator_of("alice")
