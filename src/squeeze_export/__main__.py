"""`python -m squeeze_export` and the squeeze-export command."""

from __future__ import annotations


def main() -> None:
    """Run the command line and end the process with its exit code."""
    from squeeze_export.cli import run

    raise SystemExit(run())


if __name__ == "__main__":
    main()
