"""``python -m qpsim`` is the command line."""

from qpsim.execution.ending import exit_at_once_on_signals


def main() -> None:
    """Run the command line; the entry point of ``qpsim``."""
    exit_at_once_on_signals()
    from qpsim import cli

    cli.main()


if __name__ == "__main__":
    main()
