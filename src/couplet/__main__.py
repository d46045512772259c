"""`python -m couplet` is the `couplet` command."""

from couplet.cli import main

main()
