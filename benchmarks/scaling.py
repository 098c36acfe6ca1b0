"""How many nodes, links and bytes a fleet needs, in a mesh and with the engine: a model, fed by measured costs.

Costs are those of `scaling_costs.py --write FILE`; without `--costs` those that were measured for the documents. The
workload and what there is to use are options, so anybody's can be planned. `--check` measures whether the model is
right, as far as this machine goes, in some minutes.

    python benchmarks/scaling.py [--instances 1000000 ...] [--nodes N] [--costs FILE] [--check | --workloads]
                                 [--quick] [--json | --markdown]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from figures import markdown, print_table
from scaling_checks import check
from scaling_model import fewest, most, nearest, plan
from scaling_terms import Costs, Mode, Plan, Room, Workload, rows

COSTS = Path(__file__).parent / "scaling_costs.json"
MODES: tuple[Mode, ...] = ("mesh", "engine")
StructT = TypeVar("StructT", Workload, Room)

USUAL = Workload()
BATCHED = {"per_message": 50.0, "per_connection": 50.0}
CALM = {"heartbeat": 30.0, "changes": 0.5}
WORKLOADS = {
    "each instance for itself, every 5 s": USUAL,
    "the same, every 15 s": msgspec.structs.replace(USUAL, heartbeat=15.0),
    "50 instances a client, every 5 s": msgspec.structs.replace(USUAL, **BATCHED),
    "each for itself, every 30 s, 0.5 changes": msgspec.structs.replace(USUAL, **CALM),
    "50 a client, every 30 s, 0.5 changes": msgspec.structs.replace(USUAL, **CALM, **BATCHED),
    "50 a client, every 60 s, 0.2 changes": msgspec.structs.replace(USUAL, **BATCHED, heartbeat=60.0, changes=0.2),
}
"""For a million instances; changes are of an instance in an hour."""


def read_costs(file: Path) -> Costs:
    """Return the costs of a file that `scaling_costs.py` wrote."""
    found = msgspec.json.decode(file.read_bytes())["costs"]
    missing = [name for name in Costs.__struct_fields__ if name not in found]
    if missing:
        raise SystemExit(f"{file} lacks {', '.join(missing)}: measure them where there is a nats-server")
    return msgspec.convert({name: found[name] for name in Costs.__struct_fields__}, Costs)


def plans_of(costs: Costs, work: Workload, room: Room, nodes: int) -> dict[str, Plan]:
    """Return a plan for each mode: with the fewest nodes that do, or with so many."""
    found = {mode: plan(costs, work, mode, nodes, room) if nodes else fewest(costs, work, mode, room) for mode in MODES}
    # Where no number of nodes does, the one that is nearest shows what is missing.
    return {mode: each or nearest(costs, work, mode, room) for mode, each in found.items()}


COLUMNS = ("a million: mesh", "engine", "mesh: up to", "ends", "engine: up to", "ends")


def lines_of_workloads(costs: Costs, room: Room) -> list[list[str]]:
    """Return for each workload how many nodes a million instances need, and where each mode ends."""
    lines = []
    for name, work in WORKLOADS.items():
        needed = [fewest(costs, work, mode, room) for mode in MODES]
        line = [name, *("-" if found is None else f"{found.nodes}" for found in needed)]
        for mode in MODES:
            instances, what = most(costs, work, mode, room)
            line += [f"{instances / 1e6:.1f} M", what]
        lines.append(line)
    return lines


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each figure of a workload and of what there is to use."""
    for struct, title in ((Workload, "the workload"), (Room, "what there is to use")):
        group = parser.add_argument_group(title, " ".join((struct.__doc__ or "").split()))
        for field in msgspec.structs.fields(struct):
            if field.name != "instances":
                name = "most_nodes" if struct is Room and field.name == "nodes" else field.name
                group.add_argument(f"--{name.replace('_', '-')}", type=float, default=field.default)


def given(struct: type[StructT], options: Mapping[str, float]) -> StructT:
    """Return a workload or room as the options say."""
    values = {
        name: options[name]
        for name in struct.__struct_fields__
        if name in options and name not in {"instances", "nodes"}
    }
    if struct is Room:
        values["nodes"] = options["most_nodes"]
    return msgspec.convert(values, struct, strict=False)


def main() -> int:
    """Plan, or check, and print."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--instances", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--nodes", type=int, default=0, help="plan with so many, 0 for the fewest that do")
    parser.add_argument("--costs", type=Path, default=COSTS)
    parser.add_argument("--workloads", action="store_true", help="show how far both modes go with some workloads")
    parser.add_argument("--check", action="store_true", help="measure whether the model is right")
    parser.add_argument("--quick", action="store_true", help="check with fewer nodes and instances")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="the tables of docs/scaling.md")
    add_options(parser)
    options = parser.parse_args()
    costs = read_costs(options.costs)
    if options.check:
        return print_checks(costs, options)
    # The workload is told for a million instances: what more there are bring as much as those.
    work, room = given(Workload, vars(options)), given(Room, vars(options))
    plans = {
        f"{instances:,} {mode}": found
        for instances in options.instances
        for mode, found in plans_of(costs, work.of(instances), room, options.nodes).items()
    }
    ends = {mode: most(costs, work, mode, room) for mode in MODES}
    if options.workloads:
        show(options, ("workload", *COLUMNS), lines_of_workloads(costs, room))
        return 0
    if options.json:
        told = {name: {**msgspec.to_builtins(each), "fits": each.fits} for name, each in plans.items()}
        print(json.dumps({"plans": told, "most": ends}))
        return 0
    show(options, ("instances", *plans), rows(plans))
    for mode, (instances, what) in ends.items():
        print(f"{mode}: up to about {instances:,} instances, with any number of nodes; beyond that ends: {what}")
    return 0


def show(options: argparse.Namespace, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table, for the terminal or for the documents."""
    if options.markdown:
        print(markdown(columns, lines))
    else:
        print_table("", columns, lines)


def print_checks(costs: Costs, options: argparse.Namespace) -> int:
    """Check, and print ratios."""
    sizes, counts = ((10_000,), (3, 9)) if options.quick else ((30_000, 100_000), (3, 5, 9, 15))
    found = check(costs, sizes, counts, 3.0 if options.quick else 8.0)
    if options.json:
        print(json.dumps([{**msgspec.to_builtins(each), "ratio": each.ratio} for each in found]))
        return 0
    lines = [
        [
            each.what, each.mode, f"{each.nodes}", f"{each.instances:,}", f"{each.predicted:,.1f}",
            f"{each.measured:,.1f}", f"{each.ratio:.2f}",
        ]
        for each in found
    ]  # fmt: skip
    show(options, ("figure", "mode", "nodes", "instances", "predicted", "measured", "ratio"), lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
