"""What docs/guarantees.md promises is checked: each sentence names a test that exists, the laws are those judged."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from artemis.testing.simulation import LAWS

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "guarantees.md"
TEXT = PAGE.read_text(encoding="utf-8")
TESTS = re.findall(r"\]\((\.\./artemis/tests/[^)#]+)#(\w+)\)", TEXT)
PROMISES = ["For whoever registers", "For whoever looks up", "After a partition", "For whoever follows"]
PROMISES += ["Among the nodes", "Of other regions", "The laws, and how they are checked"]


@cache
def named_in(path: Path) -> set[str]:
    """The names of the tests in a file."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, functions)}


def section(title: str) -> str:
    """The text below a heading."""
    return TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(("path", "name"), sorted(set(TESTS)))
def test_every_test_that_is_named_exists(path: str, name: str) -> None:
    """A promise whose test was renamed or dropped is noticed."""
    assert name in named_in((PAGE.parent / path).resolve())


@pytest.mark.parametrize("title", PROMISES)
def test_every_promise_names_its_test(title: str) -> None:
    """Each sentence of the lists."""
    promises = [line for line in section(title).splitlines() if line.startswith("- ")]
    assert promises
    assert [] == [line for line in promises if "](../artemis/tests/" not in line]


def test_the_laws_are_those_that_are_judged() -> None:
    """Under the same numbers."""
    told = re.findall(r"^\| (\d+) \| (.*) \|$", section("The laws, and how they are checked"), re.MULTILINE)
    assert [str(number) for number in LAWS] == [number for number, _ in told]
    assert [] == [law for (_, text), law in zip(told, LAWS.values(), strict=True) if law.split()[-1] not in text]


def test_every_finding_has_what_keeps_it_away() -> None:
    """The track record names a test in each row, and numbers them."""
    rows = [line for line in section("Track record").splitlines() if re.match(r"\| \d", line)]
    assert [str(number) for number in range(1, len(rows) + 1)] == [row.split(" | ")[0].strip("| ") for row in rows]
    assert [] == [row for row in rows if "](../artemis/tests/" not in row]
