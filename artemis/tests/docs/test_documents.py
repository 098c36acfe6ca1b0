"""What the documents show is what happens: their Python runs, their bytes are those of the codec, their paths exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from artemis.server.config import ServeConfig
from artemis.server.handlers import regions as region_handlers
from artemis.server.operations import OPERATIONS
from artemis.server.provenance import provenance
from artemis.server.reload import LIVE_OPTIONS
from artemis.testing import running_node_sync
from msgtrans import CodecOptions, PacketDecoder

ROOT = Path(__file__).parents[3]
OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


def test_the_example_in_python_runs():
    """The program in docs/protocol.md registers an instance with a running node."""
    program = re.search(r"```python\n(.*?)```", PROTOCOL, re.DOTALL)
    assert program is not None
    with running_node_sync() as node:
        source = program[1].replace("127.0.0.1:8080", node.url.removeprefix("http://"))
        done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=60)
    assert "{'errorCode': 'success', 'message': '', 'status': 'success'}\n" == done.stdout, done.stderr


def test_the_example_in_bytes_is_a_packet():
    """The bytes in docs/protocol.md decode to the heartbeat that is described."""
    lines = re.search(r"^01  .*?\n(?=\{)", PROTOCOL, re.DOTALL | re.MULTILINE)
    body = re.search(r'^\{"instances.*$', PROTOCOL, re.MULTILINE)
    assert lines is not None
    assert body is not None
    head = b"".join(bytes.fromhex(re.split(r"\s{2,}", line)[0]) for line in lines[0].splitlines())
    (packet,) = PacketDecoder(CodecOptions()).feed(head + body[0].encode())
    assert (1, 2, 1, b"format=json") == (packet.packet_type, packet.biz_type, packet.message_id, packet.ext_header)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_is_in_the_table(operation):
    """docs/protocol.md lists each operation with its number and path."""
    assert f"| {operation.code} | `{operation.name}` | `{operation.path}` |" in PROTOCOL


@pytest.mark.parametrize("option", provenance(ServeConfig(), LIVE_OPTIONS), ids=lambda option: option.name)
def test_every_option_is_described(option):
    """docs/operating.md has each option with its default, its range and whether it takes effect at once."""
    flag = {"filters": "filter"}.get(option.name, option.name)
    default = "" if option.default in (None, [], {}) else option.default
    if isinstance(default, bool):
        default = "on" if default else "off"
    shown = f"{default:g}" if isinstance(default, float) else f"{default}"
    live = "yes" if option.live else ""
    assert f"| `--{flag}` | {shown} | {option.range} | {live} | {option.description} |" in OPERATING


def test_every_local_link_leads_somewhere():
    """Links between the documents name files that exist."""
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_metric_of_other_regions_is_explained() -> None:
    """With when to look at it, and none that was renamed."""
    names = {f"artemis_region_{name}" for name in region_handlers._GAUGES} | {
        "artemis_region_age_seconds",
        "artemis_region_events_total",
    }
    assert names == set(re.findall(r"`(artemis_region_\w+)\{", OPERATING))
