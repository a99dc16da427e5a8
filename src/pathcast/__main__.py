"""`python -m pathcast` is the command `pathcast`."""

from pathcast.cli.main import main

main()
