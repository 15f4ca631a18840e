"""`python -m roadworthy`."""

from roadworthy.cli.main import main

main()
