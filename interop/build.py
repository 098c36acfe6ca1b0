"""Builds a peer program for each version of the Rust crate and puts them into build/interop.

    python interop/build.py            all of them; what is up to date takes a second
    python interop/build.py 1.0.10     one of them
    python interop/build.py --release 1.0.10 2.0   optimised, for benchmarks/interop_throughput.py; some minutes each
    python interop/build.py --source FOLDER 1.0.3  a version that was never published, from the source of the crate

Not here: what the programs do (`peers/common/peer.rs`), and the tests that drive them (`tests`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

INTEROP = Path(__file__).resolve().parent
BUILT = INTEROP.parent / "build" / "interop"
# name of the program: (folder below peers, features of Cargo)
PEERS = {
    "1.0.0": ("rust-1.0.0", ""),
    "1.0.10": ("rust-1.0.10", ""),
    "2.0": ("rust-2.0", ""),
    "1.0.0-compression": ("rust-1.0.0", "compression"),
    "1.0.10-compression": ("rust-1.0.10", "compression"),
    "2.0-compression": ("rust-2.0", "compression"),
}
UNPUBLISHED = {"1.0.3": ("rust-1.0.3", ""), "1.0.3-compression": ("rust-1.0.3", "compression")}


def build(name: str, *, release: bool = False, source: Path | None = None) -> Path:
    """The program of that name, built if anything of it has changed.

    release: optimised, under a name of its own. source: the folder of the crate, for a version that is not published.
    """
    folder, features = (PEERS | UNPUBLISHED)[name]
    target = BUILT / "target"
    command = ["cargo", "build", "--quiet", "--manifest-path", str(INTEROP / "peers" / folder / "Cargo.toml")]
    command += ["--features", features] if features else []
    command += ["--release"] if release else []
    command += ["--config", f"patch.crates-io.msgtrans.path={json.dumps(str(source.resolve()))}"] if source else []
    subprocess.run(command, check=True, env=os.environ | {"CARGO_TARGET_DIR": str(target)})
    program = BUILT / f"peer-{name}{'-release' if release else ''}"
    made = program.with_name(program.name + ".new")
    shutil.copy2(target / ("release" if release else "debug") / "peer", made)
    made.replace(program)  # a program that runs cannot be written to
    return program


def main() -> int:
    """Build what the command line names, or everything that is published."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PEERS | UNPUBLISHED))
    parser.add_argument("--release", action="store_true", help="optimised, for benchmarks/interop_throughput.py")
    parser.add_argument("--source", type=Path, metavar="FOLDER", help="of the crate, for a version never published")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in PEERS | UNPUBLISHED:
            parser.error(f"there is no {name!r}: {', '.join(PEERS | UNPUBLISHED)}")
        if (name in UNPUBLISHED) is not (arguments.source is not None):
            parser.error(f"--source is for {' and '.join(UNPUBLISHED)}, which cannot be built without it")
    if arguments.source is not None and not arguments.names:
        parser.error(f"--source is for {' and '.join(UNPUBLISHED)}: name one")
    if shutil.which("cargo") is None:
        sys.stdout.write("cargo is not installed: the tests against the Rust crate are left out\n")
        return 0
    for name in arguments.names or PEERS:
        start = time.monotonic()
        build(name, release=arguments.release, source=arguments.source)
        sys.stdout.write(f"{name}: {time.monotonic() - start:.1f} s\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
