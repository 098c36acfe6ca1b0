"""Builds a peer program for each version of the Rust crate and puts them into build/interop.

    python interop/build.py            all of them; what is up to date takes a second
    python interop/build.py 1.0.10     one of them
    python interop/build.py --release 1.0.10 2.0   optimised, for benchmarks/interop_throughput.py; some minutes each

Not here: what the programs do (`peers/common/peer.rs`), and the tests that drive them (`tests`).
"""

from __future__ import annotations

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


def build(name: str, *, release: bool = False) -> Path:
    """The program of that name, built if anything of it has changed; `release`: optimised, under a name of its own."""
    folder, features = PEERS[name]
    target = BUILT / "target"
    command = ["cargo", "build", "--quiet", "--manifest-path", str(INTEROP / "peers" / folder / "Cargo.toml")]
    command += ["--features", features] if features else []
    command += ["--release"] if release else []
    subprocess.run(command, check=True, env=os.environ | {"CARGO_TARGET_DIR": str(target)})
    program = BUILT / f"peer-{name}{'-release' if release else ''}"
    made = program.with_name(program.name + ".new")
    shutil.copy2(target / ("release" if release else "debug") / "peer", made)
    made.replace(program)  # a program that runs cannot be written to
    return program


def main() -> int:
    """Build what the command line names, or everything."""
    if shutil.which("cargo") is None:
        sys.stdout.write("cargo is not installed: the tests against the Rust crate are left out\n")
        return 0
    names = [word for word in sys.argv[1:] if word != "--release"]
    for name in names or PEERS:
        start = time.monotonic()
        build(name, release="--release" in sys.argv)
        sys.stdout.write(f"{name}: {time.monotonic() - start:.1f} s\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
