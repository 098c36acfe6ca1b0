"""Charts of figures that other programs measured, as small PNG files; needs matplotlib (requirements/bench.txt).

Not here: measuring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl

mpl.use("Agg")  # no display

from matplotlib import pyplot as plt

OURS, OTHERS, BARE = "#1f6feb", "#8b949e", "#c9a227"
DOTS_PER_INCH = 90


class Bar(NamedTuple):
    """A name, a value, a colour."""

    name: str
    value: float
    colour: str


def draw_bars(path: Path, title: str, unit: str, bars: Sequence[Bar], *, logarithmic: bool = False) -> None:
    """Draw horizontal bars, the first on top, each with its value, and write them to `path`."""
    figure, axes = plt.subplots(figsize=(8, 0.9 + 0.36 * len(bars)), layout="constrained")
    drawn = axes.barh([bar.name for bar in bars], [bar.value for bar in bars], color=[bar.colour for bar in bars])
    axes.bar_label(drawn, [_shown(bar.value) for bar in bars], padding=4, fontsize=9)
    axes.invert_yaxis()
    if logarithmic:
        axes.set_xscale("log")
    axes.margins(x=0.14)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(f"{unit}, logarithmic" if logarithmic else unit, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
    plt.close(figure)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw_peers(medians: Sequence[Mapping[str, object]], titles: Mapping[str, str], directory: Path) -> None:
    """Rates with 64 requests under way, and the median latency with one, of 32 bytes."""
    charts = {
        "peers_rate": ("Requests per second, 64 in flight, 32 bytes", "requests per second", 64, "per_second"),
        "peers_latency": ("Median latency of one request at a time, 32 bytes", "microseconds", 1, "p50_us"),
        "peers_cpu": ("Processor time of a request, client and server, 64 in flight", "microseconds", 64, "cpu_us"),
    }
    for name, (title, unit, in_flight, figure) in charts.items():
        values = {
            str(line["peer"]): float(str(line[figure]))
            for line in medians
            if line["in_flight"] == in_flight and line["size"] == 32
        }
        best_first = sorted(values.items(), key=lambda item: item[1], reverse=figure == "per_second")
        bars = [Bar(titles[peer], value, _colour(peer)) for peer, value in best_first]
        draw_bars(directory / f"{name}.png", title, unit, bars, logarithmic=True)


def draw_phase3(rates: Mapping[tuple[str, ...], float], directory: Path) -> None:
    """Operations per second of the plan's rows, and of doing without."""
    pairs = {
        "requests through the pool": (("pooled", "batched"), ("connected", "batched"), "a connection for each request"),
        "one-way messages": (("packets", "batched"), ("packets", "unbatched"), "one-way messages, unbatched"),
        "requests, 64 in flight": (("requests", "batched"), ("requests", "unbatched"), "requests, unbatched"),
        "both at once": (("everything", "batched"), ("everything", "unbatched"), "both at once, unbatched"),
    }
    bars = []
    for title, (ours, without, other) in pairs.items():
        bars += [Bar(title, rates[ours], OURS), Bar(other, rates[without], OTHERS)]
    draw_bars(directory / "phase3.png", "Operations, and doing without", "per second", bars, logarithmic=True)


def draw_soak(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Memory, objects and descriptors of each process over a soak; the dots are quiet moments."""
    figures = {"rss": ("MiB in use", 1 << 20), "objects": ("thousand objects", 1000), "descriptors": ("descriptors", 1)}
    figure, several = plt.subplots(len(figures), 1, figsize=(8, 8), sharex=True, layout="constrained")
    names = list(dict.fromkeys(str(row["process"]) for row in rows))
    for axes, (key, (title, unit)) in zip(several, figures.items(), strict=True):
        for number, name in enumerate(names):
            seen = [row for row in rows if row["process"] == name and key in row]
            quiet = [row for row in seen if row["phase"] == "quiet"]
            for some, look in ((seen, {"linewidth": 0.8, "label": name}), (quiet, {"linewidth": 0, "marker": "o"})):
                hours = [float(str(row["at"])) / 3600 for row in some]
                axes.plot(
                    hours, [float(str(row[key])) / unit for row in some], color=f"C{number}", markersize=3, **look
                )
        axes.set_ylabel(title, fontsize=9)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    several[0].legend(fontsize=8, ncols=len(names), frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
    several[-1].set_xlabel("hours", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
    plt.close(figure)


def _colour(peer: str) -> str:
    if peer.startswith("msgtrans"):
        return OURS
    return BARE if peer.startswith("bare") else OTHERS
