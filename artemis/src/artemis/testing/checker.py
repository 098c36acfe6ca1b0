"""Judges a history of a cluster against its laws: ``python -m artemis.testing.checker FILE...``.

| law | what it says |
| --- | --- |
| visible | what is registered and renewed every node shows, with its last content, once faults are ``settle`` over |
| kept | what a node has answered a heartbeat of, it shows for ``ttl``, whatever befalls the network |
| removed | what was unregistered is not shown again: by that node at once, by every node once faults are over |
| expired | what is renewed no more goes everywhere |
| converged | when nothing has changed for ``settle``, all nodes show the same |
| watch | a watch is told each change once and in order, misses none, and ends with what lookups show |
| cursor | the position of a node, of a watch and of a client never goes back unflagged |
| answered | operations that must not fail have not failed |

It knows no node and no client, only what they said; what is uncertain, as an operation that failed or overlapped
another one, is never held against anybody. Each law says how often it was put to the test: a history that tests
nothing shows nothing. Ends with 0 if all laws hold, 1 if one does not, 2 if a file is no history.
Not for histories whose clients set the wall clock of nodes: registering at one node after unregistering at another is
ordered by their clocks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from artemis.testing.checker_judgement import LAWS, Verdict, Violation, judge
from artemis.testing.histories import BadHistoryError, read_history

__all__ = ["LAWS", "Verdict", "Violation", "judge", "main"]


def main(words: Sequence[str] | None = None) -> int:
    """Judge the histories in files, and print what they show."""
    parser = argparse.ArgumentParser(
        prog="python -m artemis.testing.checker", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("file", nargs="+", type=Path)
    worst = 0
    for path in parser.parse_args(words).file:
        try:
            verdict = judge(read_history(path))
        except (BadHistoryError, OSError) as error:
            sys.stderr.write(f"{error}\n")
            worst = 2
            continue
        for each in verdict.violations:
            sys.stdout.write(f"{path}: at {each.at}, {each.law}: {each.text}\n")
        judged = ", ".join(f"{law} {count}" for law, count in verdict.judged.items())
        sys.stdout.write(f"{path}: {len(verdict.violations)} violations; judged: {judged}\n")
        worst = max(worst, 1 if verdict.violations else 0)
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
