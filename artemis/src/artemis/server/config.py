"""Every option of a node: name, default, range.

Values come from flags, then ARTEMIS_SERVE_* variables, then a TOML file, then the defaults.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
)

from artemis.discovery.filters import make_filters
from artemis.registry.leases import SHARE_PERCENT, SMALLEST_PRESERVED
from artemis.server.cluster_options import EXCHANGE_ROUNDS
from artemis.server.option_words import complaints, refuse_truth, separated, word
from artemis.server.rate_limit import LIMITERS, limiter, read_limits
from artemis.server.tls_options import TlsOptions

#: Unreserved characters only, so that no client spells it in another way.
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+){1,8}")

#: IP addresses; where there is only room for one text, separated by commas.
Addresses = Annotated[tuple[str, ...], NoDecode]


class ConfigError(ValueError):
    """The configuration cannot be used; the text names the option and says what to do."""


class Given(NamedTuple):
    """Where the value of an option was written: the kind of place, and the place itself."""

    source: Literal["flag", "environment", "file"]
    place: str


class ServeConfig(TlsOptions):
    """Options of `artemis serve`.

    Sizes are bytes, times seconds. Unknown names in a file are refused, so that a misspelt option is not silently the
    default.
    """

    lease_ttl: float = Field(20.0, ge=1, le=604_800, description="Seconds of silence after which a lease expires.")
    legacy_lease_ttl: float = Field(
        90.0, ge=1, le=604_800, description="The same for instances whose metadata has java_registry (spec 4.4)."
    )
    heartbeat_interval: float | None = Field(
        None,
        ge=0.25,
        le=302_400,
        description="Seconds between heartbeats that clients are expected to keep; default: TTL/4.",
    )
    heartbeat_recognition: bool = Field(
        True, description="Renew what repeats the message before it without parsing it; off to measure, or to go back."
    )
    self_preservation: bool = Field(True, description="Hold leases longer when many fall silent at once.")
    preservation_hold: float = Field(
        60.0, ge=0, le=86_400, description="Seconds a silent lease is held longer while self-preservation is active."
    )
    preservation_share: int = Field(
        SHARE_PERCENT, ge=50, le=100, description="Percent of leases; when fewer were heard, self-preservation begins."
    )
    preservation_least: int = Field(
        SMALLEST_PRESERVED, ge=0, le=1_000_000, description="With fewer live leases self-preservation never begins."
    )
    tombstone_lifetime: float | None = Field(
        None,
        ge=1,
        le=2_592_000,
        description="Seconds a removed or expired instance is remembered; default: 600, or twice the longest TTL.",
    )
    allow_registry_from_other_zone: bool = Field(True, description="Accept instances of other zones of the region.")
    allow_discovery_from_other_zone: bool = Field(True, description="Answer lookups from other zones of the region.")
    max_instances: int = Field(2_000_000, ge=1, description="Instances held; further ones are refused.")
    max_operations: int = Field(
        10_000,
        ge=1,
        le=100_000,
        description="Operations recorded for instances and servers; further ones are refused.",
    )
    filters: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Discovery filters, in order: status-up, or those of installed plug-ins.",
        json_schema_extra={"word": "filter"},  # a flag that is repeated names one each time
    )
    max_body_size: int = Field(8 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024, description="Bytes of one request.")
    max_connections: int = Field(
        15_000, ge=1, description="Open connections, those of QUIC counted apart; further ones are closed at once."
    )
    rate_limits: bool = Field(True, description="Refuse requests above the limits that follow (spec 11).")
    rate_limit_registry: int = Field(
        limiter("registry").default,
        ge=0,
        le=limiter("registry").highest,
        description="Registrations, heartbeats and unregistrations in 10 s, each; 0: no limit, else 1000 at least.",
    )
    rate_limit_replication: int = Field(
        limiter("replication").default,
        ge=0,
        le=limiter("replication").highest,
        description="The same for requests of replicating peers.",
    )
    rate_limit_cluster: int = Field(
        limiter("cluster").default,
        ge=0,
        le=limiter("cluster").highest,
        description="Requests for the nodes of the cluster in 10 s; 0: no limit, else 100 at least.",
    )
    rate_limit_status: int = Field(
        limiter("status").default,
        ge=0,
        le=limiter("status").highest,
        description="Requests for each status page in 10 s, node status excepted; 0: no limit.",
    )
    rate_limit_map: Annotated[dict[str, int], NoDecode] = Field(
        {}, description="Limits of single operations, such as registry.register:5000,status.get-leases:10."
    )
    rate_limit_per_caller: int = Field(
        0, ge=0, le=100_000_000, description="Requests in 10 s from one address, over all operations; 0: no limit."
    )
    max_ws_sessions: int = Field(12_000, ge=1, description="Open WebSocket sessions; further ones are refused.")
    ws_session_ttl: float = Field(
        360.0, ge=300, le=18_000, description="Seconds after which a WebSocket session is closed, to balance the load."
    )
    ws_blacklist_heartbeat: Addresses = Field((), description="Addresses that may not open heartbeat sessions.")
    ws_blacklist_discovery: Addresses = Field((), description="The same for sessions about instance changes.")
    ws_blacklist_discoveries: Addresses = Field((), description="The same for sessions about all instance changes.")
    path_prefix: str = Field(
        "", description="Path that everything is also reachable below, such as /artemis-service; default: none."
    )
    admin_token_file: Path | None = Field(
        None, description="File whose first line operators send as their token; needed beyond loopback."
    )
    data_dir: Path | None = Field(
        None, description="Where the node keeps its id and, for its next start, what it knows; default: nowhere."
    )
    snapshot_interval: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="Seconds between two snapshots in the data directory; 0: at the end, and when operators decide.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged.")
    log_format: Literal["console", "json"] = Field("console", description="How log lines look, on standard error.")

    _given: dict[str, Given] | None = PrivateAttr(None)

    @property
    def given(self) -> Mapping[str, Given]:
        """Where each option that was given comes from; the others have their defaults.

        What was given to the class itself counts as a flag.
        """
        if self._given is None:
            return {name: Given("flag", f"--{_word(name)}") for name in self.model_fields_set}
        return self._given

    def trace(self, given: Mapping[str, Given]) -> Self:
        """Remember where the values come from; returns itself."""
        self._given = dict(given)
        return self

    @property
    def expected_heartbeat(self) -> float:
        """The heartbeat interval in seconds, given or derived."""
        return self._shortest_ttl / 4 if self.heartbeat_interval is None else self.heartbeat_interval

    @property
    def record_lifetime(self) -> float:
        """The tombstone lifetime in seconds, given or derived."""
        if self.tombstone_lifetime is not None:
            return self.tombstone_lifetime
        return max(600.0, 2 * self._longest_ttl, 2 * self.least_lifetime(self._processes))

    def least_lifetime(self, nodes: int) -> float:
        """The seconds that a record must be remembered at least in a cluster of so many nodes (design 4.1): the longest
        TTL, what self-preservation holds a lease longer, each node's grace, and a few exchange rounds: else a node that
        was cut off brings back what was removed and is forgotten. A node alone needs the TTL only; each worker is one
        of the nodes."""
        if not self.clustered and self.workers == 1:
            return self._longest_ttl
        hold = self.preservation_hold if self.self_preservation else 0.0
        return self._longest_ttl + hold + nodes * self.grace + EXCHANGE_ROUNDS

    @property
    def beat(self) -> float:
        """Seconds between signs of life among nodes, given or derived."""
        return min(1.0, self._shortest_ttl / 10) if self.peer_beat is None else self.peer_beat

    @property
    def grace(self) -> float:
        """Seconds that each further node waits longer before it expires an instance, given or derived."""
        return min(10.0, self._shortest_ttl / 2) if self.peer_grace is None else self.peer_grace

    @property
    def suspicion(self) -> float:
        """Seconds of silence after which clients are not sent to a node, given or derived."""
        return 3 * self.beat if self.peer_suspect is None else self.peer_suspect

    @property
    def given_up(self) -> float:
        """Seconds of silence after which a node counts as down, given or derived."""
        derived = max(2 * self.suspicion, min(10.0, self._shortest_ttl / 2))
        return derived if self.peer_down is None else self.peer_down

    @property
    def tolerated_skew(self) -> float:
        """Seconds that the clocks of two nodes may differ: an eighth of the shortest TTL (design 4.1)."""
        return self._shortest_ttl / 8

    @property
    def _processes(self) -> int:
        """How many processes the cluster has as far as is known now: those of other machines are as many as here."""
        return len(self.peers) * self.workers + self.workers

    @property
    def _shortest_ttl(self) -> float:
        return min(self.lease_ttl, self.legacy_lease_ttl)

    @property
    def _longest_ttl(self) -> float:
        return max(self.lease_ttl, self.legacy_lease_ttl)

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        if self.expected_heartbeat * 2 > self._shortest_ttl:
            raise ValueError(f"heartbeat-interval: may be {self._shortest_ttl / 2:g} at most, half of the shortest TTL")
        if self.record_lifetime <= self._longest_ttl:
            raise ValueError(f"tombstone-lifetime: must be more than {self._longest_ttl:g}, the longest TTL")
        return self

    @model_validator(mode="after")
    def _check_with_others(self) -> Self:
        self.check_tls()
        self.check_cluster()
        self.check_federation()
        self._check_cluster_times()
        return self

    def _check_cluster_times(self) -> None:
        if 4 * self.beat > self._shortest_ttl:
            raise ValueError(f"peer-beat: may be {self._shortest_ttl / 4:g} at most, a quarter of the shortest TTL")
        if 2 * self.beat > self.suspicion:
            raise ValueError(
                f"peer-suspect: must be {2 * self.beat:g} at least, two beats, or a late one looks like none"
            )
        if self.suspicion > self.given_up:
            raise ValueError(
                f"peer-down: must be {self.suspicion:g} at least, the time after which a node is suspected"
            )
        if 2 * self.beat > self.grace:
            raise ValueError(f"peer-grace: must be {2 * self.beat:g} at least, two beats, in which renewals travel")
        nodes = self._processes
        if self.record_lifetime <= self.least_lifetime(nodes):
            raise ValueError(
                f"tombstone-lifetime: must be more than {self.least_lifetime(nodes):g} in a cluster of {nodes}: the "
                f"longest TTL, preservation-hold, {self.grace:g} of grace for each node and {EXCHANGE_ROUNDS:g} for "
                "exchanges"
            )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth(cls, value: object, info: ValidationInfo) -> object:
        return refuse_truth(value, cls.model_fields[str(info.field_name)])

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator(*(f"rate_limit_{limiter.name}" for limiter in LIMITERS))
    @classmethod
    def _check_rate_limit(cls, value: int, info: ValidationInfo) -> int:
        lowest = limiter(str(info.field_name).removeprefix("rate_limit_")).lowest
        if 0 < value < lowest:
            raise ValueError(f"must be 0 (no limit) or at least {lowest}")
        return value

    @field_validator("rate_limit_map", mode="before")
    @classmethod
    def _read_rate_limit_map(cls, value: object) -> object:
        return read_limits(value)

    @field_validator("ws_blacklist_heartbeat", "ws_blacklist_discovery", "ws_blacklist_discoveries", mode="before")
    @classmethod
    def _read_addresses(cls, value: object) -> object:
        words = separated(value)
        return tuple(str(ipaddress.ip_address(word)) for word in words) if isinstance(words, tuple) else words

    @field_validator("filters", mode="before")
    @classmethod
    def _read_filters(cls, value: object) -> object:
        return separated(value)

    @field_validator("filters")
    @classmethod
    def _check_filters(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        make_filters(value)
        return value

    @field_validator("path_prefix")
    @classmethod
    def _check_path_prefix(cls, value: str) -> str:
        if value and not _PREFIX.fullmatch(value):
            raise ValueError("must start with a slash and not end with one, such as /artemis-service")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given alone; `load_config` reads the environment and the file that was named."""
        _ = settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def load_config(
    file: Path | None, flags: dict[str, object], read: Callable[[Path], bytes] = Path.read_bytes
) -> ServeConfig:
    """The configuration from `flags` (None: not given), the environment and a TOML `file` with the options' names as
    keys. `read` reads the file and may raise OSError.

    Raises `ConfigError`.
    """
    given = {name: value for name, value in flags.items() if value is not None and value != []}
    from_file = _read_toml(file, read) if file else {}
    prefix = ServeConfig.model_config.get("env_prefix", "")
    values: dict[str, object] = {}
    origins: dict[str, Given] = {}
    places: dict[str, str] = {}
    for key, value in from_file.items():
        name = _named(key)
        if name in values:
            raise ConfigError(f"{file}: {key} is there twice, spelt in two ways")
        values[name], origins[name], places[name] = value, Given("file", str(file)), f"{key} in {file}"
    for variable, name, value in _environment(prefix):
        values[name], origins[name], places[name] = value, Given("environment", variable), variable
    for name, value in given.items():
        flag = f"--{_word(name)}"
        values[name], origins[name], places[name] = value, Given("flag", flag), flag
    return checked(values, places).trace(origins)


def checked(values: Mapping[str, object], places: Mapping[str, str]) -> ServeConfig:
    """The configuration of these values alone; `places` says for each option how to name it in a complaint.

    Raises `ConfigError`.
    """
    for name in values:
        if name.startswith("_"):  # would be taken for a setting of the settings
            raise ConfigError(f"{places.get(name, name)}: is not an option")
    try:
        return ServeConfig(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigError(complaints(error, ServeConfig.model_fields, places)) from error


def _word(name: str) -> str:
    return word(name, ServeConfig.model_fields.get(name))


def _named(key: str) -> str:
    """The option that a file calls `key`: by its name or its word, with hyphens or underscores."""
    name = key.replace("-", "_")
    return next((each for each in ServeConfig.model_fields if _word(each).replace("-", "_") == name), name)


def _environment(prefix: str) -> Iterable[tuple[str, str, object]]:
    """Yield the variables that are options: as they are spelt, the option, the value."""
    for name, value in EnvSettingsSource(ServeConfig)().items():
        yield f"{prefix}{name.upper()}", name, value
    for name in ServeConfig.model_fields:
        variable = f"{prefix}{_word(name).replace('-', '_').upper()}"
        if _word(name) != word(name) and variable in os.environ:
            yield variable, name, os.environ[variable]


def _read_toml(file: Path, read: Callable[[Path], bytes]) -> dict[str, object]:
    try:
        table = tomllib.loads(read(file).decode())
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{file} has values within values, too deep to be read") from error
    return table


def own_url(config: ServeConfig, port: int) -> str:
    """The URL that this node announces: the configured one, else the bound address, else the first site-local IPv4
    (design 6), with the path prefix, which the node URL of v1 clients contains (spec 2)."""
    if config.self_url is not None:
        return config.self_url
    host = config.own_host
    if ":" in host:
        host = f"[{host}]"
    return f"{config.scheme}://{host}:{port}{config.path_prefix}"
