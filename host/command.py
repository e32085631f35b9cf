"""How the commands of bench/ and models/ begin."""

import sys

import typer


def start(main, name="litepress bench"):
    """Run ``main`` with the command line's arguments, by typer. What it raises for bad input, or
    for a tool that failed, is one line, and the exit code 1."""
    try:
        typer.run(main)
    except (RuntimeError, ValueError, OSError) as error:
        sys.exit(f"{name}: {error}")
