"""How nodes log in at a nats-server, what a user of it may not do, and TLS: what is said, and when it is over."""

from pathlib import Path

import pytest
from engine_cores import Make, carried, in_state, ready

from artemis.cluster.mesh.pauses import MeshTimings
from artemis.cluster.nats.carrier import CarrierTimings
from artemis.cluster.nats.login import Login
from artemis.cluster.nats.session import SessionTimings
from artemis.cluster.nats.trouble import EngineState
from artemis.testing.certificates import make_certificate
from artemis.testing.nats_servers import nats_server

pytestmark = pytest.mark.skipif(nats_server() is None, reason="there is no nats-server")


def permitted(*subjects: str) -> str:
    """Return the configuration of a server whose only user may publish to these."""
    allowed = ", ".join(f'"{subject}"' for subject in subjects)
    return f"authorization {{ users: [{{user: u, password: p, permissions: {{publish: [{allowed}]}}}}] }}"


@pytest.mark.parametrize("kind", ["password", "token"])
async def test_a_wrong_login_is_refused_and_a_right_one_found_later(make: Make, kind: str) -> None:
    """The file is read for each connection, so a node need not be started again."""
    server = make(config="authorization { " + ('user: u, password: "p"' if kind == "password" else 'token: "p"') + " }")
    file = server.folder / "login"
    wrong, right = ("u\nwrong\n", "u\np\n") if kind == "password" else ("wrong\n", "p\n")
    file.write_text(wrong)
    async with carried(server.url, login=Login(**{kind: file})) as one:
        await in_state(one, EngineState.REFUSED, "does not know this user")
        file.write_text(right)
        await ready(one)


async def test_a_missing_permission_is_named(make: Make) -> None:
    """A user who may not use the bucket is told which subject it takes."""
    denied = 'authorization { users: [{user: u, password: p, permissions: {publish: {deny: "$JS.API.STREAM.>"}}}] }'
    server = make(config=denied)
    file = server.folder / "login"
    file.write_text("u\np\n")
    async with carried(server.url, login=Login(password=file)) as one:
        await in_state(one, EngineState.REFUSED, "$JS.API.STREAM.INFO")


async def test_a_missing_permission_is_named_among_others(make: Make) -> None:
    """Beats that are denied as well, again and again, do not hide which subject the bucket takes."""
    server = make(config=permitted("_INBOX.>"))
    file = server.folder / "login"
    file.write_text("u\np\n")
    async with carried(server.url, login=Login(password=file)) as one:

        def denied() -> bool:
            one.carrier.say(b"here I am")
            return one.carrier.state is EngineState.REFUSED and "$JS.API.STREAM.INFO" in one.carrier.why

        await one.until(denied, "not refused:")


async def test_nodes_that_may_not_speak_say_so_until_they_may(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """Beats that are denied make the state `refused` with the subject, in the log once, while the bucket is used."""
    server = make(config=permitted("$JS.API.>", "$KV.>"))
    file = server.folder / "login"
    file.write_text("u\np\n")
    async with carried(server.url, login=Login(password=file)) as one:
        await ready(one)

        def denied() -> bool:
            one.carrier.say(b"here I am")
            return one.carrier.state is EngineState.REFUSED

        await one.until(denied, "not refused:")
        assert "permit it to publish to artemis.tests.>" in one.carrier.why
        assert not one.carrier.connected
        number = one.core.put("i.x", b"1")
        one.carrier.turn()
        await one.until(lambda: one.core.stored_all([number]), "not stored:")
        assert denied()
        assert 1 == capsys.readouterr().out.count("engine not ready")
        server.configure(permitted("$JS.API.>", "$KV.>", "artemis.>"))
        await one.until(lambda: not denied(), "still refused:")
        assert (EngineState.READY, "", 1) == (one.carrier.state, one.carrier.why, one.carrier.counters["connections"])


async def test_nodes_that_may_not_listen_say_so_until_they_may(make: Make) -> None:
    """They hear nobody and know it, so they judge nobody; what is permitted later is found without a new connection."""
    users = "authorization {{ users: [{{user: u, password: p, permissions: {{subscribe: [{}]}}}}] }}"
    server = make(config=users.format('"_INBOX.>"'))
    file = server.folder / "login"
    file.write_text("u\np\n")
    async with carried(server.url, login=Login(password=file)) as one:
        await in_state(one, EngineState.REFUSED, "permit it to subscribe to artemis.tests.>")
        number = one.core.put("i.x", b"1")
        one.carrier.turn()
        await one.until(lambda: one.core.stored_all([number]), "not stored:")
        assert not one.carrier.connected
        server.configure(users.format('"_INBOX.>", "artemis.>"'))
        await ready(one)
        assert (True, 1) == (one.carrier.connected, one.carrier.counters["connections"])
        async with carried(server.url, login=Login(password=file), node="other") as other:
            await ready(other)

            def heard() -> bool:
                other.carrier.say(b"here I am")
                return bool(one.core.beats)

            await one.until(heard, "not heard:")


async def test_puts_that_are_denied_are_named(make: Make) -> None:
    """A user who may read the bucket and not write to it is told which permission that takes."""
    server = make(config=permitted("$JS.API.>", "artemis.>"))
    file = server.folder / "login"
    file.write_text("u\np\n")
    async with carried(server.url, login=Login(password=file)) as one:
        await ready(one)
        one.core.put("i.x", b"1")
        one.carrier.turn()
        await in_state(one, EngineState.REFUSED, "permit $KV.artemis_tests.>")


async def test_a_node_that_may_not_put_stays_refused_until_a_put_is_answered(make: Make) -> None:
    """That the bucket opens again at each attempt says nothing of puts; the connection stays the same."""
    server = make(config=permitted("$JS.API.>", "artemis.>"))
    file = server.folder / "login"
    file.write_text("u\np\n")
    timings = CarrierTimings(session=SessionTimings(patience=500), pauses=MeshTimings(refused_pause=0.2))
    async with carried(server.url, login=Login(password=file), timings=timings) as one:
        await ready(one)
        one.core.put("i.x", b"1")
        one.carrier.turn()
        await in_state(one, EngineState.REFUSED, "permit $KV.artemis_tests.>")
        for openings in (2, 3):
            await one.until(lambda openings=openings: len(one.core.openings) == openings, "not opened:")
            assert EngineState.REFUSED is one.carrier.state
            assert "permit $KV.artemis_tests.>" in one.carrier.why
            one.core.put("i.x", b"1")
            one.carrier.turn()
            await one.until(lambda openings=openings: len(one.core.losses) == openings, "not lost:")
        await one.until(lambda: len(one.core.openings) == 4, "not opened:")
        server.configure(permitted("$JS.API.>", "artemis.>", "$KV.>"))
        await one.until(lambda: "Reloaded server configuration" in server.log, "not reloaded:")

        def answered() -> bool:
            return one.core.outcomes.get(number) in ("stored", "conflicted")

        number = -1
        while not answered():  # a server that is busy may take longer than nodes here are patient
            await one.until(lambda: len(one.core.openings) > len(one.core.losses), "not opened:")
            losses, number = len(one.core.losses), one.core.put("i.x", b"1")
            one.carrier.turn()
            await one.until(lambda losses=losses: answered() or len(one.core.losses) > losses, "not answered:")
        assert "" == one.carrier._connection.denial("$KV.", below=True)
        assert (EngineState.READY, "", 1) == (one.carrier.state, one.carrier.why, one.carrier.counters["connections"])


async def test_nothing_secret_is_said_in_clear_text(make: Make) -> None:
    """A server that speaks no TLS where it ought to gets no password, although it asks for one."""
    server = make(config='authorization { user: u, password: "p" }')
    file = server.folder / "login"
    file.write_text("u\np\n")
    async with carried(f"tls://{server.address}", login=Login(password=file)) as one:
        await in_state(one, EngineState.REFUSED, "speaks no TLS")
        assert 0 == one.carrier.counters["connections"]


async def test_tls_is_spoken_and_the_server_proved(make: Make, tmp_path: Path) -> None:
    """A server whose authority is given is trusted, and one whose authority is not is refused."""
    files = make_certificate(tmp_path)
    tls = f'tls {{ cert_file: "{files.certificate_file}", key_file: "{files.key_file}" }}'
    server = make(config=tls)
    async with carried(f"tls://localhost:{server.port}", ca_file=files.ca_file) as one:
        await ready(one)
        await one.puts(["i.x"])
    async with carried(f"tls://localhost:{server.port}") as other:
        await in_state(other, EngineState.REFUSED, "TLS does not work")
