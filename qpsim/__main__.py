"""``python -m qpsim`` is the command line."""

from qpsim.cli import main

main()
