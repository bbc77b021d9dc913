"""The command line: one file a command."""

from pabal.cli.program import main

__all__ = ["main"]
