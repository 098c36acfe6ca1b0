"""Services on WSGI: registered for as long as any worker process serves, however many there are.

Not here: serving; and ASGI, see `artemis.asgi`.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from artemis.client import ArtemisError
from artemis.client.forks import note_open
from artemis.client.listening import LISTEN_INTERVAL, LISTEN_PATIENCE, accepts, addresses_of
from artemis.client.sync.client import ArtemisClient
from artemis.client.sync.workers import joined, membership_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from artemis.client import HealthCheck
    from artemis.client.sync.registration import Registration
    from artemis.model import Instance

ENVIRON_KEY: Final = "artemis.client"
"""Under this key of the environ requests find the client."""

LEAD_INTERVAL: Final = 0.5
"""Seconds after which a worker looks again whether the one that leads is gone."""
LEAVE_PATIENCE: Final = 3.0
"""Seconds that the last worker waits for the one that led to have let go."""

logger = logging.getLogger("artemis.client")


class RegisteredApp:
    """Any WSGI application, with its instances in the registry while the server listens.

    ::

        client = ArtemisClient(servers=["http://127.0.0.1:8080"], region_id="local", zone_id="zone1")
        app = RegisteredApp(app, client, Instance(service_id="orders", ip="127.0.0.1", port=9000))

    - ``client``: a client of `artemis.sync` that has not been entered. It is opened in each worker process, ends with
      it, and requests find it in ``environ["artemis.client"]``.
    - ``instances``, ``health``: as of its ``registered``.
    - ``preloaded``: the application is loaded before the server forks its workers (gunicorn ``--preload``, uwsgi
      without ``--lazy-apps``): nothing starts in this process, but in each worker.

    No request has to come first: a thread waits until the server accepts connections at the first instance's ``ip`` and
    ``port`` (30 s at most) and registers. A registry that is not there, or refuses, keeps nothing from being served:
    the client goes on trying, and tells by its events. What is wrong with the instances themselves raises in requests.

    Worker processes of one user that serve the same instances are one instance: the first leads and renews it; when it
    dies or ends another takes over, within a second; whoever ends last unregisters. They agree by locks on files in
    ``XDG_RUNTIME_DIR`` or, per user, in the temporary folder. Killed all at once, they leave a lease that runs out.

    A server that replaces all its workers at once (gunicorn on SIGHUP) ends the old ones while the new ones still load
    the application, so there may be none for that moment, and the instance is out of the registry as long. The last
    worker cannot know whether its server ends or reloads, and waiting would leave a closed port in the registry at
    every end. Where that matters, let `artemis run` start the server: it registers the port, whoever serves it.
    """

    def __init__(
        self,
        app: WSGIApplication,
        client: ArtemisClient,
        *instances: Instance,
        health: HealthCheck | None = None,
        preloaded: bool = False,
    ) -> None:
        if not instances:
            raise ValueError("nothing to register: give at least one instance")
        self._app = app
        self._client = client
        self._instances = instances
        self._health = health
        self._preloaded = preloaded
        self._membership = membership_of(instances)
        self._opened = False
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._forget()
        note_open(self)
        if not preloaded:
            self.start()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if self._thread is None:
            self.start()
        if self._error is not None:
            raise self._error
        environ[ENVIRON_KEY] = self._client
        return self._app(environ, start_response)

    def start(self) -> None:
        """Begin in this process, once; loading, forking and the first request do so by themselves."""
        with self._lock:
            if self._thread is not None or self._ended:
                return
            if not self._opened:
                self._opened = True
                self._client.open()
            # After the client, so that it ends before the client does.
            atexit.register(self.close)
            self._thread = threading.Thread(target=self._keep, name="artemis wsgi", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End in this process: the last one that does unregisters. The end of the process does it by itself."""
        with self._lock:
            thread, self._thread, self._ended = self._thread, None, True
        atexit.unregister(self.close)
        if thread is not None:
            self._stop.set()
            thread.join()
            self._client.close()

    def after_fork(self) -> None:
        """Be another process: nothing of the parent's is this one's; see `artemis.client.forks`."""
        served = self._thread is not None
        self._membership.drop()
        self._forget()
        note_open(self)
        # A process that a worker starts, for whatever end, is no worker.
        if self._preloaded and not served:
            self.start()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = self._error = None
        self._ended = False

    def _keep(self) -> None:
        try:
            self._membership = joined(self._membership)
            registration: Registration | None = None
            while not self._stop.is_set() and not self._membership.try_to_lead():
                self._stop.wait(LEAD_INTERVAL)
            if not self._stop.is_set() and self._listening():
                registration = self._client.registered(
                    *self._instances, health=self._health, required=False
                ).__enter__()
                self._stop.wait()
            self._leave(registration)
        except (ArtemisError, ValueError, TypeError, OSError) as error:
            logger.exception("the application is not registered")
            self._error = error
        finally:
            self._membership.drop()

    def _leave(self, registration: Registration | None) -> None:
        if not self._membership.leave():
            if registration is not None:
                registration.hand_over()
            return
        # Whoever led before may just be letting go, and a worker that comes now must not be taken out.
        deadline = time.monotonic() + LEAVE_PATIENCE
        while not self._membership.try_to_lead() and time.monotonic() < deadline:
            time.sleep(0.01)
        if registration is not None:
            registration.unregister()
            return
        if not self._membership.shared:
            return
        try:
            # It never led: it takes out what the one before has left, if there is anything.
            self._client.registered(*self._instances).take_out()
        except (ArtemisError, ValueError) as error:
            logger.warning("the last worker could not unregister, leases end by themselves: %s", error)

    def _listening(self) -> bool:
        """Wait until the server accepts connections; return False if it ends before."""
        first = self._instances[0]
        try:
            addresses = asyncio.run(addresses_of(first, self._client.server))
        except OSError:
            addresses = []
        deadline = time.monotonic() + LISTEN_PATIENCE
        while addresses and not any(map(accepts, addresses)):
            if self._stop.wait(LISTEN_INTERVAL):
                return False
            if time.monotonic() > deadline:
                logger.warning("nothing accepts connections at %s; registering it all the same", addresses)
                break
        return True
