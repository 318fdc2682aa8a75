"""`python -m squeeze_export` and the squeeze-export command."""

from __future__ import annotations

import sys

from squeeze_export import signals, streams


def main() -> None:
    """Run the command line and end the process with its exit code."""
    streams.shield()
    try:
        # Before the imports, which take a while: Ctrl-C is no traceback then either.
        with signals.raised():
            from squeeze_export.commands.cli import run

            code = run()
            signals.ignore()
    except signals.Signalled as signalled:
        sys.stderr.write("error: Interrupted before anything began.\n")
        code = signalled.exit_code
    streams.tell_what_was_lost()
    raise SystemExit(code)


if __name__ == "__main__":
    main()
