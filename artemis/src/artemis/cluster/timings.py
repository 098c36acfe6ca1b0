"""The times of replication: every value with its unit, default and range (design 4.1).

Not here: those of leases (`artemis.registry.NodeTimings`), of links (`mesh`) and of membership (`members`).
"""

import msgspec


class ClusterTimings(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in milliseconds. Raises ValueError unless all are positive.

    `beat`: how often a node tells its peers whom it has heard, the sign of life between nodes.
    `exchange`: how often it compares itself with a peer, in turn, when nothing shows that something is missing.
    `patience`: how long it waits for the next part of an answer before it begins another exchange.
    `departure`: how long it remembers nodes that have left (7 days): a pull-out made beside one that was only cut off
    is not lost if they meet again within it.
    """

    beat: int = 1_000
    exchange: int = 2_500
    patience: int = 5_000
    departure: int = 604_800_000

    def __post_init__(self) -> None:
        """Check that every time passes."""
        for name in self.__struct_fields__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1 ms, not {getattr(self, name)}")
