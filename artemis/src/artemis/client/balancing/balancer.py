"""`Balancer`: what a caller asks for the instance of its next request. The deciding is done in `choices`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, get_args

from artemis.client.balancing.routes import CANARY_ROUTE, DEFAULT_ROUTE
from artemis.client.balancing.strategies import PICKS, Strategy
from artemis.client.errors import NoInstancesError
from artemis.client.names import check_text, service_key

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import TracebackType

    from artemis.client.balancing.balancing import Balancing
    from artemis.client.balancing.choices import ServiceChoices
    from artemis.client.balancing.members import Member
    from artemis.model import Instance

__all__ = ["Balancer", "Request", "Strategy"]


class Balancer:
    """Chooses among the live instances of one service, as the client last saw them; made by ``client.balancer``.

    Every choice uses the current view, so instances come and go between two choices; those that the guard holds are
    chosen as well. No method but ``ready`` waits for anything. All balancers of a service share what they know.

    A route rule of the service (spec 5.3) splits its instances into groups with weights. ``default-route-rule`` is what
    a balancer goes by; without one all instances are one group. First a group is chosen: by smooth weighted round
    robin, a group without instances leaving its share to the others, and one of weight 0 getting nothing. A rule of
    strategy ``close-by-visit`` does the same among the instances of the own zone, or if there are none those of the
    own region, or else all; the zone and region of an instance count, not those in the key of its group. Then
    ``strategy`` chooses within the group. ``status`` is free text of the owner and is not looked at (spec 1.3).

    An instance whose requests fail is left out for a while, see ``outlier_failures`` of `ClientOptions`. If more than
    half of the instances of a rule would be left out, none is; ``close-by-visit`` goes farther away before that.
    """

    def __init__(
        self, balancing: Balancing, service_id: str, strategy: Strategy = "round-robin", route: str | None = None
    ) -> None:
        if strategy not in get_args(Strategy):
            raise ValueError(f"no such strategy: {strategy!r} (there are {', '.join(get_args(Strategy))})")
        self.service_id = check_text("service_id", service_id)
        self.strategy = strategy
        self.route = DEFAULT_ROUTE if route is None else check_text("route", route).lower()
        self._key = service_key(self.service_id)
        self._balancing = balancing
        self._choices = balancing.choices(self.service_id)
        self._pick = PICKS[strategy]
        self._keyed = strategy == "consistent-hash"
        # Whoever names another rule wants that one and no other; a canary is a part of the default.
        self._routes = (CANARY_ROUTE, DEFAULT_ROUTE) if self.route == CANARY_ROUTE else (self.route,)
        self._canary_routes = (CANARY_ROUTE, *(route for route in self._routes if route != CANARY_ROUTE))

    def __repr__(self) -> str:
        return f"<Balancer of {self.service_id}: {self.strategy} by {self.route}>"

    async def ready(self) -> None:
        """Wait until the service has been looked up once; raises what that first lookup raises."""
        await self._balancing.look_up(self.service_id)

    def next(
        self, *, key: str | bytes | None = None, avoid: Collection[Instance] = (), canary: bool = False
    ) -> Instance:
        """Return the instance for the next request.

        - ``key``: whose request it is, for ``consistent-hash``, which needs it; the others do not look at it.
        - ``avoid``: instances that just failed the caller; they are chosen only if the rule leads to no other.
        - ``canary``: choose by ``canary-route-rule``, if that leads to any instance.

        Raises ``NoInstancesError`` with the reason if there is none, or if the service has not been looked up yet (see
        ``ready``), and ``ValueError`` if the key is missing.
        """
        return self._choose(key, avoid, canary=canary, begin=False).instance

    def request(
        self, *, key: str | bytes | None = None, avoid: Collection[Instance] = (), canary: bool = False
    ) -> Request:
        """Return a context for one request: ``with balancer.request() as instance: ...``, in async code too.

        It chooses as ``next`` does when it is entered, and learns: the request is under way until it is left, the time
        inside is the latency, and an ``Exception`` that leaves it is a failure of the instance, so raise for answers
        that are one, and not for those that are not. Cancellation says nothing about the instance.
        """
        return Request(self._choices, lambda: self._choose(key, avoid, canary=canary, begin=True))

    def report(self, instance: Instance, *, ok: bool, seconds: float | None = None) -> None:
        """Tell how a request to an instance from ``next`` ended, and how many seconds it took; see ``request``.

        An instance that is not shown any more is ignored. ``ValueError`` for a time that is none. It never waits, so
        signal handlers and finalisers may call it, and so they may leave a ``request``.
        """
        if seconds is not None and not 0 <= seconds < math.inf:
            raise ValueError(f"seconds is how long a request took, not {seconds!r}")
        self._choices.reported(instance, self._balancing.last_shown(self._key), ok=ok, seconds=seconds)

    def outliers(self) -> tuple[Instance, ...]:
        """Return the instances that rest because requests to them failed; they return at the choice after that."""
        return self._choices.outliers()

    def _choose(self, key: str | bytes | None, avoid: Collection[Instance], *, canary: bool, begin: bool) -> Member:
        text = b""
        if self._keyed:
            if key is None:
                raise ValueError("consistent-hash chooses by a key: next(key=...)")
            text = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key
        shown = self._balancing.shown(self.service_id, self._key)
        if shown is None:
            raise NoInstancesError(self.service_id, "it has not been looked up yet; `await balancer.ready()` first")
        routes = self._canary_routes if canary else self._routes
        member = self._choices.choose(shown, routes, self._pick, text, avoid, begin=begin)
        if member is None:
            none = f"none is live as of {self._balancing.age(self._key):.1f} s ago"
            raise NoInstancesError(self.service_id, self._choices.why_none(routes[-1]) if shown.instances else none)
        return member


class Request:
    """One request, from the choice of its instance to its end; made by ``balancer.request``, entered once."""

    def __init__(self, choices: ServiceChoices, choose: Callable[[], Member]) -> None:
        self._choices = choices
        self._choose = choose
        self._member: Member | None = None
        self._begun = 0.0

    def __enter__(self) -> Instance:
        if self._member is not None:
            raise RuntimeError("a request can be entered once; ask the balancer for a new one")
        self._member = self._choose()
        self._begun = self._choices.clock()
        return self._member.instance

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._member is not None:
            # What is no Exception, as a cancellation or the end of a generator, is the caller's own doing.
            ok = True if error is None else False if isinstance(error, Exception) else None
            self._choices.ended(self._member, ok=ok, seconds=self._choices.clock() - self._begun, began=True)
