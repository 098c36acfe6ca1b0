"""The fixtures for the tests of those who use the SDK, in a pytest of their own."""

import re
import subprocess
import sys
from pathlib import Path

from artemis.testing import fixtures

CONFTEST = 'pytest_plugins = ["artemis.testing.fixtures"]\n'
TESTS = """
from artemis import Instance


def instance():
    return Instance(service_id="orders", ip="127.0.0.1", port=9000)


async def test_async(artemis_client):
    async with artemis_client.registered(instance()):
        assert len((await artemis_client.service("orders")).instances) == 1


def test_sync(artemis_sync_client, artemis_node):
    assert artemis_sync_client.server == artemis_node.url
    with artemis_sync_client.registered(instance()) as registration:
        assert registration.instance.zone_id == "z9"


def test_a_node_of_its_own(artemis_node, artemis_node_session):
    artemis_node.kill()
    artemis_node.restart()
    assert artemis_node.url != artemis_node_session.url


def test_the_node_of_the_session_is_one(artemis_node_session, request):
    assert request.getfixturevalue("artemis_node_session") is artemis_node_session
    assert artemis_node_session.process.poll() is None
"""
OPTIONS = """
import pytest

@pytest.fixture(scope="session")
def artemis_node_options():
    return {options}
"""


def pytest_in(folder: Path, *arguments: str, hidden: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder, as if some modules were not installed."""
    program = (
        "import sys, importlib.util as u; found = u.find_spec; "
        f"u.find_spec = lambda name, *a: None if name in {hidden!r} else found(name, *a); "
        "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-c", program, "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_they_give_nodes_and_clients(tmp_path: Path) -> None:
    """A node for each test that asks or one for all, with options of one's own; clients that are where the node is."""
    (tmp_path / "conftest.py").write_text(CONFTEST + OPTIONS.format(options={"region": "r9", "zone": "z9"}))
    (tmp_path / "test_orders.py").write_text(TESTS)
    result = pytest_in(tmp_path, "-o", "asyncio_mode=auto")
    assert "4 passed" in result.stdout, result.stdout
    assert 0 == result.returncode


def test_a_node_that_does_not_start_is_told_in_its_words(tmp_path: Path) -> None:
    """Without a stack of the fixture's insides."""
    (tmp_path / "conftest.py").write_text(CONFTEST + OPTIONS.format(options={"lease_ttl": -1}))
    (tmp_path / "test_orders.py").write_text("def test_it(artemis_node): pass\n")
    result = pytest_in(tmp_path)
    assert "the registry node for this test did not start" in result.stdout
    assert "lease-ttl" in result.stdout
    assert "Traceback" not in result.stdout
    assert 1 == result.returncode


def test_the_async_client_works_in_the_strict_mode_of_pytest_asyncio(tmp_path: Path) -> None:
    """That is its default; the test above is in the other one."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_orders.py").write_text(
        "import pytest\n@pytest.mark.asyncio\nasync def test_it(artemis_client): await artemis_client.service('x')\n"
    )
    result = pytest_in(tmp_path, "-o", "asyncio_mode=strict")
    assert "1 passed" in result.stdout, result.stdout


def test_without_pytest_asyncio_the_others_work(tmp_path: Path) -> None:
    """The async client says what to install."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_orders.py").write_text(
        "def test_one(artemis_node_session): pass\ndef test_two(artemis_client): pass\n"
    )
    result = pytest_in(tmp_path, "-p", "no:asyncio", hidden=("pytest_asyncio",))
    assert "artemis_client needs pytest-asyncio: pip install pytest-asyncio" in result.stdout
    assert "1 passed, 1 error" in result.stdout, result.stdout


def test_with_pytest_asyncio_switched_off_it_is_told(tmp_path: Path) -> None:
    """For tests of both kinds, instead of what pytest makes of an async fixture that nobody runs."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_orders.py").write_text(
        "def test_one(artemis_client): pass\nasync def test_two(artemis_client): pass\n"
    )
    result = pytest_in(tmp_path, "-p", "no:asyncio")
    assert "artemis_client needs pytest-asyncio, which is switched off" in result.stdout
    assert "2 errors" in result.stdout, result.stdout
    assert "AssertionError" not in result.stdout


def test_every_fixture_is_described() -> None:
    """In the table at the top of the module."""
    made = {name for name in vars(fixtures) if name.startswith("artemis_")}
    assert made == set(re.findall(r"^\| ``(\w+)`` \|", fixtures.__doc__ or "", re.MULTILINE))
