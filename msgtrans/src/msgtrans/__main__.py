"""Where `python -m msgtrans` and the command `msgtrans` begin. Not here: the commands, which need the extra `cli`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say what to install."""
    try:
        from msgtrans.cli import app
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        sys.exit("The command line needs more packages: pip install 'msgtrans[cli]'")
    app()


if __name__ == "__main__":
    main()
