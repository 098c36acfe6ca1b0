"""The laws of the cluster (design 4.1), by name. Not here: how each is judged; see `judge`."""

LAWS = {
    1: "convergence",
    2: "no resurrection of what was removed",
    3: "no live instance lost",
    4: "no false mass eviction",
    5: "merge is a join",
    6: "cursors are exact",
    7: "bounded state",
    8: "the client's last content wins",
    9: "watch is ordered, unique, gap-free or flagged",
    10: "a node shows what its vector says",
    11: "nothing goes wrong silently",
    12: "no answer is older than it says",
    13: "the operators' last word wins",
}


class BrokenLaw(Exception):  # noqa: N818 - the words of the domain
    """A law does not hold: its number, and the history that shows it."""

    def __init__(self, law: int, text: str) -> None:
        super().__init__(law, text)
        self.law = law
        self.text = text

    def __str__(self) -> str:
        """Name the law."""
        return f"law {self.law} ({LAWS[self.law]}): {self.text}"
