"""What docs/operating.md tells operators of a cluster is there: commands, paths, metrics, words of the log."""

import re
from pathlib import Path

import pytest
import typer

from artemis.cli.cluster import app
from artemis.server import cluster_metrics, member_log
from artemis.server.operations import OPERATIONS

ROOT = Path(__file__).parents[3]
OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
METRICS = re.findall(r'"(artemis_cluster_\w+)"', Path(cluster_metrics.__file__).read_text(encoding="utf-8"))
OF_PEERS = [f"artemis_cluster_peer_{name}" for name in cluster_metrics._PEER]


@pytest.mark.parametrize("metric", [*METRICS, *OF_PEERS])
def test_every_metric_of_a_cluster_is_explained(metric: str) -> None:
    """With when to look at it."""
    assert re.search(rf"`{metric}(_total)?(\{{\w+(,\w+)*\}})?`.*\|.*\|", OPERATING)


def test_only_metrics_that_exist_are_explained() -> None:
    """None that was renamed."""
    named = {name.removesuffix("_total") for name in re.findall(r"`(artemis_cluster_\w+)", OPERATING)}
    assert {*METRICS, *OF_PEERS} == named


def test_every_command_is_shown() -> None:
    """And none that does not exist."""
    there = {command.callback.__name__ for command in app.registered_commands if command.callback is not None}
    assert isinstance(app, typer.Typer)
    assert there == set(re.findall(r"^artemis cluster (\w+)", OPERATING, re.MULTILINE))


def test_the_paths_of_operators_are_those_of_operations() -> None:
    """As they are asked for over HTTP."""
    paths = {f"/api/{operation.path}" for operation in OPERATIONS}
    told = {path.rstrip("?") for path in re.findall(r"`(?:GET|POST) (/api/v1/(?:cluster|node)[\w/]*)", OPERATING)}
    assert told
    assert set() == told - paths


def test_the_words_of_the_log_are_those_that_are_logged() -> None:
    """For what becomes of a member."""
    source = Path(member_log.__file__).read_text(encoding="utf-8")
    assert 'f"member {view.status}"' in source
    assert {"`member up`", "`member unknown`", "`member down`"} <= set(re.findall(r"`member \w+`", OPERATING))


def test_every_benchmark_of_a_cluster_is_named() -> None:
    """docs/cluster.md has the command of each, and none that is gone."""
    programs = {path.name for path in (ROOT / "benchmarks").glob("cluster_*.py")}
    told = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    assert programs == set(re.findall(r"benchmarks/(cluster_\w+\.py)", told))
