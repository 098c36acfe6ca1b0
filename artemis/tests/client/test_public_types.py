"""What a type checker is told of the SDK: users see with `mypy --strict` what exists, what fits, and what does not."""

import subprocess
import sys

import pytest

GOOD = """
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.simple_server import make_server
from collections.abc import Iterable

import artemis
from artemis import ArtemisClient, Instance, NoInstancesError, Registration, Telemetry
from artemis.sync import ArtemisClient as SyncClient
from artemis.wsgi import RegisteredApp


class Mine(Telemetry):
    def event(self, event: artemis.ClientEvent) -> None:
        if isinstance(event, artemis.StateChanged):
            print(event.new)


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return []


async def asynchronous(client: ArtemisClient) -> str | None:
    async with client.registered(Instance(service_id="orders", port=9000)) as registration:
        reveal_type(registration)
    async with client.listen("prices", lambda change, view: None):
        pass
    with client.balancer("prices").request() as instance:
        return instance.url


client = SyncClient(servers=[], telemetry=Mine())
app: WSGIApplication = RegisteredApp(hello, client, Instance(service_id="orders", port=9000))
make_server("", 0, RegisteredApp(app, client, Instance(service_id="orders", port=9000)))
"""

BAD = """
from artemis import Nonsense
from artemis import Instance

instance = Instance(service_id="orders")
instance.port = 1
instance.nonsense
Instance(port="9000")
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return what a type checker says to two programs of a user: lines and what is said there."""
    folder = tmp_path_factory.mktemp("typed")
    for name, source in ("good.py", GOOD), ("bad.py", BAD):
        (folder / name).write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "good.py", "bad.py"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert result.stderr == ""
    lines = [line.split(":", 1) for line in result.stdout.splitlines()[:-1]]
    return {name: [text for file, text in lines if file == name] for name in ("good.py", "bad.py")}


def test_public_words_are_typed(said: dict[str, list[str]]) -> None:
    """What the documents show has no errors, and is known by its type."""
    assert ['24: note: Revealed type is "artemis.client.registration.registration.Registration"'] == said["good.py"]


def test_mistakes_are_seen(said: dict[str, list[str]]) -> None:
    """A word that does not exist, an assignment to an instance, an attribute and a value that are wrong."""
    errors = [line.split(":")[0] for line in said["bad.py"] if ": error: " in line]
    assert ["2", "6", "7", "8"] == errors, said["bad.py"]
