"""Bounds and counters of the change stream. Not here: where the values come from, and who shows them."""

import msgspec


class PushLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a change stream. Raises ValueError unless all are positive.

    `subscriptions`: services of one subscriber; `total_subscriptions`: of all together. `name`: characters of a service
    id. `changes`, `change_bytes`: changes of one service that are told at once, more of them become one `reload`.
    `sync_bytes`: the same for all instances of a service, in a full sync, and for the changes of all services.
    `behind`: changes of all services that are told one by one; whoever lacks more is told to reload. `reloads`: the
    services that a Java client is told to reload at once. `waiters`: long-polls. `stall`: milliseconds within which a
    subscriber must take something when there is something.
    """

    subscriptions: int = 10_000
    total_subscriptions: int = 1_000_000
    name: int = 1_024
    changes: int = 1_000
    change_bytes: int = 262_144
    sync_bytes: int = 1_048_576
    behind: int = 1_000
    reloads: int = 2_500
    waiters: int = 20_000
    stall: int = 30_000

    def __post_init__(self) -> None:
        """Check that every bound leaves room for something."""
        for name in self.__struct_fields__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


class PushCounters(msgspec.Struct, gc=False):
    """What happened since the start; every counter only grows.

    `published`: changes that somebody waited for. `delivered`: changes handed to doors, once for each subscriber.
    `coalesced`: those not handed out, because later ones of the same instance replaced or undid them. `reloads`,
    `full_syncs`: services told as a whole instead. `refused`: subscriptions and waits beyond a limit. `dropped`:
    subscribers that fell behind further than can be told. `door_failures`: doors that raised. `awaited`: subscriptions
    and long polls that waited for changes which their cursor names and this node lacked; `awaited_in_vain`: those that
    were told everything instead, as the changes did not come.
    """

    published: int = 0
    delivered: int = 0
    coalesced: int = 0
    reloads: int = 0
    full_syncs: int = 0
    refused: int = 0
    dropped: int = 0
    door_failures: int = 0
    awaited: int = 0
    awaited_in_vain: int = 0
