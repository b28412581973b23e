"""`python -m sortingoffice`."""

from sortingoffice.cli.main import main

main()
