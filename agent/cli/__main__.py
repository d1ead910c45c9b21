"""`python -m agent.cli`: the `kerbside` command where its script is not installed."""

from agent.cli import main

main()
