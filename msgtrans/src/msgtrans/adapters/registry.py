"""Which transports there are: the built-in ones, those registered by hand, and those installed as plug-ins.

A plug-in is a distribution with an entry point in the group `msgtrans.transports` that names a factory of a
`transport.Transport`. Plug-ins are loaded when a scheme or config is not known otherwise, or the list is asked for.
Not here: any transport.
"""

from __future__ import annotations

import logging
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from msgtrans.adapters.quic.transport import QuicTransport
from msgtrans.adapters.tcp import TcpTransport
from msgtrans.adapters.websocket.transport import WebSocketTransport
from msgtrans.errors import ConfigurationError
from msgtrans.field_types import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msgtrans.transport import ClientConfig, ServerConfig, Transport, TransportInfo

GROUP: Final = "msgtrans.transports"
logger = logging.getLogger("msgtrans.registry")


class TransportRegistry:
    """Transports by name and URI scheme. `transports` is the one that servers and clients use unless given another.

    plugins: also look for installed ones; default on.
    """

    def __init__(self, *, plugins: bool = True) -> None:
        self._by_name: dict[str, Transport] = {}
        self._by_scheme: dict[str, Transport] = {}
        self._plugins = plugins
        for transport in (TcpTransport(), WebSocketTransport(), QuicTransport()):
            self.register(transport)

    def register(self, transport: Transport, *, override: bool = False) -> None:
        """Add a transport. With `override` it takes the place of those with its name and schemes.

        Raises ConfigurationError when its name or one of its schemes is taken.
        """
        info = transport.info
        schemes = [scheme.lower() for scheme in info.schemes]
        taken = [f"the scheme {scheme!r}" for scheme in schemes if scheme in self._by_scheme]
        if info.name in self._by_name:
            taken.insert(0, f"the name {info.name!r}")
        if taken and not override:
            raise ConfigurationError("transport", f"{' and '.join(taken)} is taken; say override=True to replace it")
        if info.name in self._by_name:
            self.unregister(info.name)
        self._by_name[info.name] = transport
        self._by_scheme.update(dict.fromkeys(schemes, transport))

    def unregister(self, name: str) -> None:
        """Take a transport out. Raises ConfigurationError for an unknown name."""
        transport = self.get(name)
        del self._by_name[name]
        self._by_scheme = {scheme: other for scheme, other in self._by_scheme.items() if other is not transport}

    def get(self, name: str) -> Transport:
        """The transport of that name. Raises ConfigurationError naming those that exist."""
        if name not in self._by_name:
            self._load_plugins()
        try:
            return self._by_name[name]
        except KeyError:
            raise ConfigurationError("transport", _unknown(name, self._by_name)) from None

    def by_scheme(self, scheme: str) -> Transport:
        """The transport of URIs that begin with `scheme`. Raises ConfigurationError naming the schemes that exist."""
        scheme = scheme.lower()
        if scheme not in self._by_scheme:
            self._load_plugins()
        try:
            return self._by_scheme[scheme]
        except KeyError:
            raise ConfigurationError("uri", f"scheme {_unknown(scheme, self._by_scheme)}") from None

    def list(self) -> list[TransportInfo]:
        """What is known of all transports, plug-ins included, by name."""
        self._load_plugins()
        return [self._by_name[name].info for name in sorted(self._by_name)]

    def server_config(self, target: str | ServerConfig, scheme: str = "tcp", *, field: str = "config") -> ServerConfig:
        """`target` itself, or the default options of a listener there.

        scheme: of an address without one. Raises ConfigurationError, naming `field` for what is no listener's config.
        """
        if not isinstance(target, str):
            self.get(transport_name(target, field))
            if not hasattr(target, "max_connections"):
                raise _wrong_side(target, field, "a server", "TcpServerConfig")
            return target
        found, separator, _ = target.partition("://")
        return self.by_scheme(found if separator else scheme).server_config(target)

    def client_config(self, target: str | ClientConfig, scheme: str = "tcp", *, field: str = "config") -> ClientConfig:
        """`target` itself, or the default options of a connection to it.

        scheme: of an address without one. Raises ConfigurationError, naming `field` for what is no config of a client.
        """
        if not isinstance(target, str):
            self.get(transport_name(target, field))
            if not hasattr(target, "retry_config"):
                raise _wrong_side(target, field, "a client", "TcpClientConfig")
            return target
        found, separator, _ = target.partition("://")
        return self.by_scheme(found if separator else scheme).client_config(target)

    def _load_plugins(self) -> None:
        if not self._plugins:
            return
        self._plugins = False
        for entry in entry_points(group=GROUP):
            try:
                self.register(entry.load()())
            except Exception:  # a broken plug-in must not take the others with it
                logger.exception("the transport plug-in %r (%s) cannot be used", entry.name, entry.value)


def _unknown(name: str, known: Iterable[str]) -> str:
    there = ", ".join(sorted(known))
    return f"{name!r} is not known; there are {there}, and more with plug-ins (entry points in the group {GROUP!r})"


def _wrong_side(config: object, field: str, side: str, example: str) -> ConfigurationError:
    return ConfigurationError(
        field, f"is a {type(config).__name__}; use an address, a URI, or the config of {side}, as {example}"
    )


def transport_name(config: object, field: str = "config") -> str:
    """The name of the transport that `config` belongs to. Raises ConfigurationError for what is no config."""
    name = None if isinstance(config, type) else getattr(config, "transport", None)
    if not isinstance(name, str):
        raise ConfigurationError(
            field,
            f"is {shown(field, config)}; use an address, a URI, or the config of a transport, as TcpServerConfig",
        )
    return name


transports: Final = TransportRegistry()
"""The registry that servers and clients use unless given another."""
