"""The examples for frameworks run as they stand, on the servers that they name."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from artemis.sync import ArtemisClient

FOLDER = Path(__file__).parents[3]
PATIENCE = 60.0

GUNICORN = ["-m", "gunicorn", "--workers", "2", "--no-control-socket", "--log-level", "error", "--bind"]
COMMANDS = {
    "flask": [*GUNICORN, "127.0.0.1:{port}", "examples.flask_service:app"],
    "django": [*GUNICORN, "127.0.0.1:{port}", "examples.django_wsgi:application"],
    "fastapi": ["-m", "uvicorn", "--log-level", "error", "--port", "{port}", "examples.fastapi_service:app"],
    "script": ["examples/script_service.py", "{port}"],
}


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - of our own processes
        return str(answer.read().decode())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_service_on_a_framework_is_found_and_leaves(name: str, node_url: str, tmp_path: Path) -> None:
    """It serves what its instance promises, knows its peers, and is out when SIGTERM has ended it."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = str(unused.getsockname()[1])
    place = {
        "REGISTRY": node_url,
        "PORT": port,
        "ARTEMIS_SERVERS": node_url,
        "ARTEMIS_REGION": "local",
        "ARTEMIS_ZONE": "zone1",
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    command = [sys.executable, *(word.format(port=port) for word in COMMANDS[name])]
    with (
        ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1") as client,
        subprocess.Popen(command, cwd=FOLDER, env=os.environ | place) as process,
    ):
        try:
            watch = client.watch(f"{name}-greetings")
            found = watch.next(timeout=PATIENCE).instance
            assert get(f"{found.url}/").strip('"').startswith("hello from ")
            if name != "script":
                assert json.loads(get(f"{found.url}/peers"))["urls"] == [found.url]
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
            assert client.api.lookup([f"{name}-greetings"])[0].instances == []
        finally:
            process.kill()
