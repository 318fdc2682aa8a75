"""The `verify` command: a finished bundle proven again, on request before further executors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from squeeze_export.commands.parameters import BundleFolder, takes
from squeeze_export.streams import print_json

if TYPE_CHECKING:
    from squeeze_export.contracts.agreements import Witness


@takes("verify")
def verify(
    bundle: BundleFolder,
    **given: Any,
) -> None:
    """Open a finished bundle again from disk and prove every artifact once more."""
    json, quiet, verbose = given["json"], given["quiet"], given["verbose"]
    from squeeze_export.bundle.manifest import encode
    from squeeze_export.screen import live, tables, terminal
    from squeeze_export.verification.bundles import verify as run_verify

    with live.progress_lines(quiet=quiet) as lines:
        found = run_verify(bundle, lines, witness=given["witness"])
    if verbose:
        terminal.print_tracebacks(found.results)
    if json:
        print_json(encode(found.document()))
    elif not quiet:
        table = tables.result_table(f"verify {terminal.shown(bundle)}", tables.rows_of(found.results, found.manifest.artifacts))
        terminal.out().print(table)
        for result in found.results:
            for heard in result.witnesses:
                terminal.out().print(_beside(str(result.key), heard))
    if not json:
        for lacking in found.manifest.missing:
            terminal.note(f"{lacking.key} is missing since the export, which kept going without it: {lacking.reason}")
    if found.reasons:
        if not json:
            terminal.problem("The bundle is not proven.\n" + "\n".join(found.reasons))
        raise typer.Exit(found.exit_code)


def _beside(subject: str, heard: Witness) -> str:
    """The difference between two executors of one file, which is not the difference to PyTorch."""
    together = heard.agreement
    if together is None:
        return f"{subject}: {heard.report.executor} cannot be compared with {heard.beside.rstrip('.')}."
    if together.max_abs_error == 0:
        return f"{subject}: {heard.beside} and {heard.report.executor} say the same, bit for bit."
    snr = "no" if together.snr_db is None else f"{together.snr_db:.1f} dB"
    top1 = "" if together.top1_agreement is None else f", the same top-1 on {together.top1_agreement:.0%}"
    return (
        f"{subject}: between {heard.beside} and {heard.report.executor}: {snr} SNR of the {together.observed}, "
        f"error at most {together.max_abs_error:.2e}{top1} of {together.images} images."
    )
