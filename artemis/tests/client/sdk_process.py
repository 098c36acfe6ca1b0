"""A service in a process of its own, for tests that suspend it: registers, follows itself, and says how it is.

One line of JSON whenever what it says has changed: the state of its lease and of the client, and whether its view is
over a second old. With a third word it suspends itself once, as soon as all is well.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

from artemis import ArtemisClient, ClientOptions, Instance


async def main(url: str, service_id: str, suspends: str = "") -> None:
    """Run until killed."""
    well = {"lease": "held", "state": "connected", "old": False}
    options = ClientOptions(heartbeat_interval=0.25, poll_interval=0.1, confirm_interval=0.1, lost_after=1.0)
    async with (
        ArtemisClient(servers=[url], region_id="local", zone_id="zone1", options=options) as client,
        client.registered(Instance(service_id=service_id, ip="127.0.0.1", port=1)) as registration,
    ):
        said = ""
        while True:
            view = await client.service(service_id)
            look = {"lease": registration.state.value, "state": client.state.value, "old": view.age > 1.0}
            line = json.dumps(look)
            if line != said:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            said = line
            if suspends and look == well:
                suspends = ""
                os.kill(os.getpid(), signal.SIGSTOP)
                continue
            # It looks all the time: what it sees first when it goes on is what it had before it was suspended.
            await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
