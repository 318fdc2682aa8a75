"""Rewrite what is generated (`python -m tests.generate`): JSON schemas, tables of options, tolerances and MIL operations; with
--readme also what the pages' commands print (some minutes, with this machine's numbers). Tests hold the copies to it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.marked import with_between

from squeeze_export.bundle.manifest import schema
from squeeze_export.contracts import options
from squeeze_export.processes import failure
from squeeze_export.validation.mil.ops import OPERATIONS
from squeeze_export.validation.mil.weights import DECODERS
from squeeze_export.validation.tolerances import TOLERANCES, tolerance_for

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "src" / "squeeze_export" / "bundle" / "manifest.schema.json"
OPTIONS = ROOT / "docs" / "reference" / "options.md"
FAILURE = ROOT / "src" / "squeeze_export" / "processes" / "failure.schema.json"
PARITY = ROOT / "docs" / "explanation" / "parity.md"
EXECUTOR = ROOT / "docs" / "explanation" / "mil-reference-executor.md"
README = ROOT / "README.md"
DOCS = ROOT / "docs"
# Whose commands are executed in this order, in one folder.
PAGES = (
    README,
    DOCS / "how-to" / "prove-again.md",
    DOCS / "how-to" / "measure-accuracy.md",
    DOCS / "reference" / "targets.md",
)


@dataclass(frozen=True)
class Shown:
    """A command that a page shows, and what stands under it."""

    page: Path
    command: str
    output: str


def shown_commands() -> list[Shown]:
    """The ```console blocks of the pages, in order; one command each."""
    return [
        Shown(page, *block.split("\n", 1))
        for page in PAGES
        for block in re.findall(r"^```console\n\$ (.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    ]


def printed(command: str, folder: Path) -> str:
    """What one of those commands prints on standard output, run in `folder`; trailing blanks removed."""
    program, *arguments = shlex.split(command)
    assert program == "squeeze-export"
    done = subprocess.run(
        [sys.executable, "-m", "squeeze_export", *arguments],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return stripped(done.stdout)


def stripped(output: str) -> str:
    """An output as pages show it: without blanks at the end of a line."""
    return "".join(f"{line.rstrip()}\n" for line in output.splitlines())


def write_outputs() -> None:
    """Put into the pages what their commands print today."""
    with tempfile.TemporaryDirectory() as folder:
        for shown in shown_commands():
            page = shown.page.read_text(encoding="utf-8")
            block = f"```console\n$ {shown.command}\n"
            assert page.count(block) == 1
            page = page.replace(f"{block}{shown.output}```", f"{block}{printed(shown.command, Path(folder))}```")
            shown.page.write_text(page, encoding="utf-8")


def schema_text() -> str:
    """What manifest.schema.json must hold."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def failure_text() -> str:
    """What failure.schema.json must hold."""
    return json.dumps(failure.schema(), indent=2, ensure_ascii=False) + "\n"


def with_tolerances(page: str) -> str:
    """The page with its table of tolerances as the code has it."""
    rows = [
        "| target | precision | SNR | centred SNR | error of peak | few classes: probability, SNRs | why |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (target, precision), bar in TOLERANCES.items():
        of_few = tolerance_for(target, precision, classes=2)
        few = "–" if of_few == bar else f"{of_few.max_probability_error:g}, {of_few.min_snr_db:g} dB"
        numbers = f"{bar.min_snr_db:g} dB | {bar.min_centred_snr_db:g} dB | {bar.max_error_of_peak:g} | {few}"
        rows.append(f"| {target} | {precision} | {numbers} | {bar.reason} |")
    return with_between(page, "tolerances", "\n".join(rows))


def options_table() -> str:
    """The table of every option, as the command line has it: what it does, and which commands take it."""
    rows = ["| option | what it does | commands |", "| --- | --- | --- |"]
    for option in options.OPTIONS:
        shown = " ".join(filter(None, (option.flag, option.metavar)))
        # GitHub takes \| for the sign inside code, the site shows both: only an entity is the same in both.
        code = f"<code>{shown.replace('|', '&#124;')}</code>" if "|" in shown else f"`{shown}`"
        short = f" (`{option.short}`)" if option.short else ""
        told = next(iter(option.help.values())).replace("|", "\\|")
        rows.append(f"| {code}{short} | {told} | {', '.join(option.help)} |")
    return "\n".join(rows)


def with_options(page: str) -> str:
    """The page with its table of options as the code has it."""
    return with_between(page, "options", options_table())


def with_operations(page: str) -> str:
    """The page about the MIL executor with its tables as the code has them."""
    for name, functions in (("operations", OPERATIONS), ("weights", DECODERS)):
        told = {key: (function.__doc__ or "").strip().splitlines()[0] for key, function in sorted(functions.items())}
        rows = [f"| `{key}` | {first} |" for key, first in told.items()]
        page = with_between(page, name, "\n".join(["| operation | what it computes |", "|---|---|", *rows]))
    return page


def main() -> None:
    """Write every generated file."""
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    FAILURE.write_text(failure_text(), encoding="utf-8")
    PARITY.write_text(with_tolerances(PARITY.read_text(encoding="utf-8")), encoding="utf-8")
    OPTIONS.write_text(with_options(OPTIONS.read_text(encoding="utf-8")), encoding="utf-8")
    EXECUTOR.write_text(with_operations(EXECUTOR.read_text(encoding="utf-8")), encoding="utf-8")
    if "--readme" in sys.argv[1:]:
        write_outputs()


if __name__ == "__main__":
    main()
