"""Keeps one instance registered for as long as it is wanted, through whatever the registry does meanwhile.

Not here: why it is wanted; see `artemis.cli.run_supervision`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from artemis.cli.reach import spelt
from artemis.cli.session import place
from artemis.client import ArtemisError, Unregistered

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artemis.client import ArtemisClient, Registration
    from artemis.model import Instance

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0


class Keeper:
    """One instance and whether it is to be in the registry. ``tell`` gets sentences for people. One event loop."""

    def __init__(self, client: ArtemisClient, instance: Instance, tell: Callable[[str], None], random: Random) -> None:
        self._client = client
        self._instance = instance
        self._tell = tell
        self._random = random
        self._wanted = False
        self._over = False
        self._changed = asyncio.Event()

    def want(self, wanted: bool) -> None:
        """Say whether the instance is to be registered."""
        self._wanted = wanted and not self._over
        self._changed.set()

    def end(self) -> None:
        """Let `keep` take the instance out and return; nothing brings it back."""
        self._over = True
        self.want(False)

    async def keep(self) -> None:
        """Register when wanted and unregister when not, until `end`; what the registry refuses is tried again."""
        failures = 0
        said = ""
        while not self._over:
            if not self._wanted:
                await self._change()
                continue
            try:
                await self._hold()
            except (ArtemisError, ValueError) as error:
                failures += 1
                if spelt(error) != said:
                    said = spelt(error)
                    self._tell(f"Cannot register {self._name} yet: {said}. The command runs all the same.")
                # Full jitter: many commands may wait for the same registry.
                await self._change(self._random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures, 9))))
            else:
                failures, said = 0, ""

    async def _hold(self) -> None:
        wanted = self._instance
        region, zone = await place(self._client, wanted.region_id or "", wanted.zone_id or "")
        registration = self._client.registered(msgspec.structs.replace(wanted, region_id=region, zone_id=zone))
        async with registration:
            self._instance = registration.instance
            self._tell(f"Registered {self._name} at {registration.instance.url}.")
            while self._wanted:
                await self._change()
            await self._take_out(registration)

    async def _take_out(self, registration: Registration) -> None:
        events = self._client.events()
        await registration.unregister()
        async for event in events:
            if isinstance(event, Unregistered):
                if event.error is None:
                    self._tell(f"Unregistered {self._name}.")
                else:
                    self._tell(f"Could not unregister {self._name}; its lease ends by itself: {spelt(event.error)}")
                return

    async def _change(self, seconds: float | None = None) -> None:
        """Wait until something else is wanted, for ``seconds`` at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    @property
    def _name(self) -> str:
        one = self._instance
        return f"{one.service_id}/{one.instance_id or one.port}"
