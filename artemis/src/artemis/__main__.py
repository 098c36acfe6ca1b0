"""The entry point of the command ``artemis`` and of ``python -m artemis``; everything else is in `artemis.cli`."""

import os
import signal
import sys


def main() -> int:
    """Run the command line and return its exit code; without its libraries, say what to install and return 2."""
    if sys.argv[1:2] == ["serve"]:
        _end_well_from_the_start()
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError as error:
        print(  # noqa: T201 - there is nothing else to speak through
            f"The artemis command needs more than the client SDK ({error.name} is missing): "
            "pip install 'artemis-registry[cli]'",
            file=sys.stderr,
        )
        return 2
    if sys.argv[1:2] == ["serve"]:
        from artemis.cli.elsewhere import ended, serve

        return ended(lambda: serve(sys.argv[2:]))
    from artemis.cli.app import run

    return run()


def _end_well_from_the_start() -> None:
    """Let a node that is told to end before it has begun do so at once, as well as one that serves.

    Loading its libraries takes longer than some supervisors wait. The node puts its own handlers in the place of these.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))  # nothing is held or written yet


if __name__ == "__main__":
    sys.exit(main())
