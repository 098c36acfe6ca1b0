"""The options that say where a node is and with which others it forms a cluster; `config` has the rest.

Not here: what becomes of them (`membership` and `artemis.cluster`).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from artemis.cluster.addresses import BadAddress, PeerUrl, host_on_loopback, peer_place, peer_url
from artemis.cluster.nats.servers import Servers, parse_servers
from artemis.server.option_words import separated

MAX_PEERS = 64
"""Other nodes that a node knows at most: each of them sends every change to every other."""

_LAST_PORT = 65_535

MAX_WORKERS = 64
"""Processes of one node: each of them sends every change to every other."""

EXCHANGE_ROUNDS = 3 * 5.0
"""Seconds of a few exchange rounds: by so much a record outlives the last chance to expire it (design 4.1)."""

Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        pattern=r"^[^\s/;:,\x00-\x1f\x7f-\x9f]+$",
        json_schema_extra={"takes": "1 to 200 characters without blanks and / ; : ,"},
    ),
]

_DNS_NAME = re.compile(r"(?=.{1,253}(?::\d{1,5})?$)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?(?::\d{1,5})?")


LOGINS = ("cluster_credentials_file", "cluster_password_file", "cluster_token_file")
"""Options that say who a node is to an engine; one of them at most."""


class ClusterOptions(BaseSettings):
    """Where a node is, and with whom."""

    # Not ARTEMIS_: beside a service called artemis, Kubernetes sets ARTEMIS_PORT=tcp://... in every container.
    model_config = SettingsConfigDict(
        env_prefix="ARTEMIS_SERVE_", allow_inf_nan=False, extra="forbid", frozen=True, validate_default=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 or :: for all.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    workers: int = Field(
        1,
        ge=1,
        le=MAX_WORKERS,
        description="Processes that serve the port together; to clients and operators they are one node.",
    )
    workers_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="First of the ports, one for each worker, at which the other nodes of a mesh are linked with them; "
        "default: free ones.",
    )
    workers_wait: float = Field(
        0.02,
        ge=0,
        le=10,
        description="Seconds that the answer to a change waits at most until all workers show the change.",
    )
    region: Name = Field(
        "local", description="Region of this node; instances of others are refused, and lookups but for --federate."
    )
    zone: Name = Field("zone1", description="Zone of this node.")
    self_url: str | None = Field(
        None, description="URL that clients and other nodes reach this node by; default: the bound address."
    )
    peers: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="URLs of the other nodes of the cluster; the own one may be among them.",
        json_schema_extra={"takes": "URLs such as http://10.0.0.7:8080, separated by commas or as a list"},
    )
    peers_dns: str | None = Field(
        None,
        description="Name whose addresses are the nodes of the cluster, with :PORT unless it is that of this node; "
        "one that begins with _ is asked for SRV records.",
    )
    peers_file: Path | None = Field(
        None, description="File with the URL of a node on each line; read again when it changes."
    )
    peers_refresh: float = Field(10.0, ge=0.1, le=3_600, description="Seconds between two look-ups of --peers-dns.")
    cluster: str | None = Field(
        None,
        description="Servers of NATS with JetStream, nats://HOST:PORT,HOST:PORT or tls://..., that hold what the nodes "
        "of the cluster know, in place of peers.",
    )
    cluster_credentials_file: Path | None = Field(
        None, description="File that says who the nodes are to NATS, as nsc writes it: a JWT and a seed."
    )
    cluster_password_file: Path | None = Field(
        None, description="The same by a user in its first line and a password in its second."
    )
    cluster_token_file: Path | None = Field(None, description="The same by a token in its first line.")
    cluster_replicas: int | None = Field(
        None,
        ge=1,
        le=5,
        description="Servers of NATS that each keep what the cluster knows, once it is set up there; default: 3, or 1 "
        "where a server stands alone.",
    )
    cluster_max_entries: int = Field(
        4_000_000,
        ge=1_000,
        le=100_000_000,
        description="Entries that NATS holds for the cluster at most, removed instances that are remembered included, "
        "once it is set up there; further ones wait at their nodes.",
    )
    java_peers: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="URLs of nodes of the Java product to replicate with, as those have them in their list.",
        json_schema_extra={
            "takes": "URLs such as http://10.0.0.7:8080/artemis-service, separated by commas or as a list"
        },
    )
    offer_java_peers: bool = Field(True, description="Tell clients of Java peers that are up, so that they use them.")
    cluster_name: Name = Field("artemis", description="Name of the cluster; nodes of another one are refused.")
    cluster_secret_file: Path | None = Field(
        None,
        description="File whose first line all nodes of the cluster share; needed beyond loopback. A node that has one "
        "can be dialled, with no peers of its own.",
    )
    cluster_ca_file: Path | None = Field(
        None,
        description="Certificates that vouch for nodes with https URLs, and for tls:// servers; default: those of the "
        "system.",
    )
    join_timeout: float = Field(
        5.0,
        ge=0,
        le=600,
        description="Seconds a node waits at most for others to copy from before it serves; while a copy comes in, "
        "seconds without any of it, and twelve times as long at most.",
    )
    peer_beat: float | None = Field(
        None,
        ge=0.02,
        le=60,
        description="Seconds between signs of life among nodes; default: 1, or a tenth of the TTL.",
    )
    peer_grace: float | None = Field(
        None,
        ge=0.1,
        le=3_600,
        description="Seconds by which each further node waits longer before it expires an instance in the place of "
        "another; default: 10, or half the TTL.",
    )
    peer_suspect: float | None = Field(
        None,
        ge=0.06,
        le=600,
        description="Seconds of silence after which clients are no longer sent to a node; default: 3 beats.",
    )
    peer_down: float | None = Field(
        None,
        ge=0.06,
        le=3_600,
        description="Seconds of silence after which a node counts as down; default: 10, or half the TTL.",
    )

    @property
    def clustered(self) -> bool:
        """Whether this node is one of a cluster, even if it should turn out to be the only one.

        A secret alone makes it one: the first node, which the others dial.
        """
        named = (self.cluster, self.peers_dns, self.peers_file, self.cluster_secret_file)
        return bool(self.peers) or any(each is not None for each in named)

    @property
    def several_linked(self) -> bool:
        """Whether this node is several processes, each of which other nodes are linked with."""
        return self.workers > 1 and self.clustered and self.cluster is None

    @property
    def workers_ports(self) -> range:
        """The ports that are wanted for links with workers, none where any will do."""
        return range(0) if self.workers_port is None else range(self.workers_port, self.workers_port + self.workers)

    @property
    def engine_servers(self) -> Servers | None:
        """Where the engine is, None for a node without."""
        return None if self.cluster is None else parse_servers(self.cluster)

    @property
    def peer_urls(self) -> tuple[PeerUrl, ...]:
        """What `peers` names."""
        return tuple(peer_place(text) for text in self.peers)

    @property
    def java_urls(self) -> tuple[PeerUrl, ...]:
        """What `java_peers` names."""
        return tuple(dict.fromkeys(peer_url(text) for text in self.java_peers))

    @property
    def own_host(self) -> str:
        """The host of the URL that this node announces."""
        if self.self_url is not None:
            return urlsplit(self.self_url).hostname or ""
        if self.host in {"0.0.0.0", "::", ""}:  # noqa: S104 - recognised, not bound
            return site_local_address()
        return self.host

    def check_cluster(self) -> None:
        """Check that this node can be in this cluster (design 6). Raises ValueError, whose text names an option."""
        if self.cluster is None:
            self._check_without_engine()
        self._check_workers_port()
        if not self.clustered:
            return
        if self.self_url is not None:
            try:
                peer_url(self.self_url)
            except BadAddress as error:
                raise ValueError(f"self-url: {error}") from error
        alone = host_on_loopback(self.own_host)
        if self.cluster is not None:
            self._check_engine()
            return
        far = [url for url in self.peer_urls if not url.on_loopback]
        if alone and far:
            raise ValueError(
                f"self-url: this node would tell {far[0]} to reach it at {self.own_host}, which is that machine "
                "itself; give --self-url http://ADDRESS:PORT, and listen there with --host"
            )
        heard = host_on_loopback(self.host)
        if self.cluster_secret_file is None and not (alone and heard):
            other = "" if heard else f"; or listen on loopback, with --host 127.0.0.1 instead of {self.host or 'all'}"
            raise ValueError(
                "cluster-secret-file: nodes beyond loopback trust each other by a secret; give all of them the same "
                f"file, made for example with: openssl rand -hex 32{other}"
            )

    def _check_workers_port(self) -> None:
        """Check that there is room for the ports of the workers, and use for them."""
        if self.workers_port is None:
            return
        if not self.several_linked:
            raise ValueError(
                "workers-port: is of use only with --workers 2 or more, and --peers or another list of nodes"
            )
        last = self.workers_port + self.workers - 1
        if last > _LAST_PORT:
            raise ValueError(f"workers-port: may be {_LAST_PORT - self.workers + 1} at most, one for each worker")
        if self.port in self.workers_ports:
            raise ValueError(
                f"workers-port: the workers take the ports {self.workers_port} to {last}, and {self.port} is --port; "
                "choose another one"
            )

    def _check_engine(self) -> None:
        """Check that a node can be one around an engine."""
        others = {
            "peers": bool(self.peers),
            "peers-dns": self.peers_dns is not None,
            "peers-file": self.peers_file is not None,
        }
        for name, given in others.items():
            if given:
                raise ValueError(
                    f"{name}: a cluster is held together by its peers or by --cluster, not both; leave one of them out"
                )
        if self.cluster_secret_file is not None:
            raise ValueError(
                "cluster-secret-file: peers use it; with --cluster it is NATS that knows who its users are: leave it "
                "out, and give --cluster-credentials-file, --cluster-password-file or --cluster-token-file"
            )
        logins = [name for name in LOGINS if getattr(self, name) is not None]
        if len(logins) > 1:
            raise ValueError(f"{_word(logins[1])}: give one file that says who this node is to NATS, not several")
        if find_spec("nats") is None:
            raise ValueError("cluster: the client of NATS is missing; pip install 'artemis-registry[nats]'")
        servers = parse_servers(self.cluster or "").addresses
        if host_on_loopback(self.own_host) and not all(host_on_loopback(host) for host, _ in servers):
            raise ValueError(
                f"self-url: this node would tell the others to reach it at {self.own_host}, which is each machine "
                "itself; give --self-url http://ADDRESS:PORT, and listen there with --host"
            )

    def _check_without_engine(self) -> None:
        """Refuse options that nothing would read."""
        for name in (*LOGINS, "cluster_replicas", "cluster_max_entries"):
            if name in self.model_fields_set and getattr(self, name) is not None:
                raise ValueError(f"{_word(name)}: is of use only with --cluster nats://HOST:PORT")

    @field_validator("cluster")
    @classmethod
    def _check_cluster(cls, value: str | None) -> str | None:
        if value is not None:
            parse_servers(value)
        return value

    @field_validator("peers", "java_peers", mode="before")
    @classmethod
    def _read_peers(cls, value: object) -> object:
        return separated(value)

    @field_validator("peers")
    @classmethod
    def _check_peers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            peer_place(text)
        if len(value) > MAX_PEERS:
            raise ValueError(f"must be {MAX_PEERS} nodes at most, not {len(value)}")
        return value

    @field_validator("java_peers")
    @classmethod
    def _check_java_peers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            peer_url(text)
        if len(value) > MAX_PEERS:
            raise ValueError(f"must be {MAX_PEERS} nodes at most, not {len(value)}")
        return value

    @field_validator("peers_dns")
    @classmethod
    def _check_peers_dns(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not _DNS_NAME.fullmatch(value) or not 0 < int(value.partition(":")[2] or 1) < 65_536:
            raise ValueError(
                "must be a name such as artemis.example.com, artemis.example.com:8080 or _artemis._tcp.NAME"
            )
        if value.startswith("_") and ":" in value:
            raise ValueError("must be without a port when it begins with _, because SRV records tell the ports")
        return value

    @field_validator("self_url")
    @classmethod
    def _check_self_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must look like http://host:port/")
        return value


def site_local_address() -> str:
    """The first private IPv4 address of this machine, else any other that is not loopback, else 127.0.0.1."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    except OSError:
        found = set()
    addresses = sorted(ipaddress.ip_address(address) for address in found)
    candidates = [address for address in addresses if not address.is_loopback]
    private = [address for address in candidates if address.is_private]
    return str((private or candidates or [ipaddress.ip_address("127.0.0.1")])[0])


def _word(name: str) -> str:
    return name.replace("_", "-")
