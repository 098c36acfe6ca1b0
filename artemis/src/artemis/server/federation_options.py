"""The options that say which other regions a node shows beside its own.

Not here: what becomes of them (`federated` and `artemis.federation`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from artemis.cluster.addresses import peer_url
from artemis.server.cluster_files import ClusterFileError, check_authorities
from artemis.server.cluster_options import MAX_PEERS, ClusterOptions

MAX_REGIONS = 16
"""Other regions that a node shows at most: each is a copy of all that it has."""

_REGION = re.compile(r"[^\s/;:,=\x00-\x1f\x7f-\x9f]{1,200}")
_SHAPE = "must look like REGION=http://HOST:PORT, further URLs of the region behind commas"


class FederationOptions(ClusterOptions):
    """Other regions, and how they are reached."""

    federate: Annotated[dict[str, tuple[str, ...]], NoDecode] = Field(
        {},
        description="Other regions whose services are shown, read-only, to callers that name them: REGION=URL,URL of "
        "some of its nodes.",
        json_schema_extra={"takes": "REGION=URL, further URLs of the region behind commas, or a table"},
    )
    federate_ca_file: Path | None = Field(
        None, description="Certificates that vouch for their nodes with https URLs; default: those of the system."
    )
    federate_max_instances: int = Field(
        100_000,
        ge=1,
        le=2_000_000,
        description="Instances held of each of them, of 1 KiB on average; further ones are left out, and said so.",
    )

    def check_federation(self) -> None:
        """Check that these regions are others. Raises ValueError, whose text names an option."""
        own = next((region for region in self.federate if region.lower() == self.region.lower()), None)
        if own is not None:
            raise ValueError(
                f"federate: {own} is the region of this node itself; its nodes are one cluster, see --peers, and leave "
                "it out here"
            )
        if self.federate_ca_file is not None:
            try:
                check_authorities(self.federate_ca_file, "--federate-ca-file")
            except ClusterFileError as error:
                raise ValueError(f"federate-ca-file: {error}") from error

    @field_validator("federate", mode="before")
    @classmethod
    def _read_federate(cls, value: object) -> object:
        return read_regions(value)


def read_regions(value: object) -> dict[str, tuple[str, ...]]:
    """Read regions with their URLs: a table, a text `eu=http://a,http://b,us=http://c`, or a list of such texts.

    Raises ValueError for what is neither, for a region or a URL that is there twice, and beyond the bounds.
    """
    read: dict[str, tuple[str, ...]] = {}
    owner: dict[tuple[str, int], str] = {}
    for region, texts in _regions(value):
        if not _REGION.fullmatch(region):
            raise ValueError(f"{region!r:.80} is no name of a region: 1 to 200 characters without blanks and / ; : , =")
        if region.lower() in {known.lower() for known in read}:
            raise ValueError(f"{region} is there twice; write its URLs behind each other, {region}=URL,URL")
        urls = tuple(dict.fromkeys(str(peer_url(text)) for text in texts))
        if not urls:
            raise ValueError(f"{region} has no URL; {_SHAPE}")
        if len(urls) > MAX_PEERS:
            raise ValueError(f"{region} must have {MAX_PEERS} URLs at most, not {len(urls)}")
        for url in urls:
            known = owner.setdefault(peer_url(url).place, region)
            if known != region:
                raise ValueError(f"{url} is given for {known} and for {region}, and a node is of one region")
        read[region] = urls
    if len(read) > MAX_REGIONS:
        raise ValueError(f"must be {MAX_REGIONS} regions at most, not {len(read)}")
    return read


def _regions(value: object) -> list[tuple[str, list[str]]]:
    if isinstance(value, Mapping):
        return [(str(region).strip(), _texts(urls)) for region, urls in value.items()]
    found: list[tuple[str, list[str]]] = []
    for text in _texts(value):
        region, equals, url = text.partition("=")
        if equals and "://" not in region:
            found.append((region.strip(), [url.strip()] if url.strip() else []))
        elif found:
            found[-1][1].append(text)
        else:
            raise ValueError(_SHAPE)
    return found


def _texts(value: object) -> list[str]:
    texts: Iterable[object] = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(_SHAPE)
    return [part.strip() for text in texts for part in str(text).split(",") if part.strip()]
