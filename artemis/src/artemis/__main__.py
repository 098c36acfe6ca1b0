"""The entry point of the command ``artemis`` and of ``python -m artemis``; everything else is in `artemis.cli`."""

import sys


def main() -> int:
    """Run the command line and return its exit code; without its libraries, say what to install and return 2."""
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
    from artemis.cli.app import run

    return run()


if __name__ == "__main__":
    sys.exit(main())
