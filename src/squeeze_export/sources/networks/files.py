"""A captured program as a `.pt2` file: the same bytes on every run, and nothing executed when it is opened."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeeze_export.errors import SourceError
from squeeze_export.sources.checkpoints import file_kinds
from squeeze_export.sources.networks import faults, outputs
from squeeze_export.sources.networks.capture import Captured
from squeeze_export.sources.networks.programs import archive, graphs

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram


def save(captured: Captured, path: Path) -> None:
    """Write a program, without stack traces and paths. The same program gives the same bytes in another process."""
    import torch

    made = io.BytesIO()
    with faults.quiet():
        torch.export.save(captured.program, made)
    clean, _ = archive.rewritten(made.getvalue(), str(path))
    own = {"how": captured.how, "output": captured.output, "notes": list(captured.notes)}
    path.write_bytes(archive.with_own(clean, own))


def load(path: Path, *, output: str | None = None, size: tuple[int, int] | None = None) -> Captured:
    """Read a program, ours or anybody's; SourceError that names what was found where it is none, or cannot be taken.

    `output` names one of several; `size` (height, width) settles what a program leaves open. A program of anybody's is made one
    for a single image, and is refused where it was captured in training mode or gives no row of finite scores.
    """
    where = f"--model {path}"
    clean, own = archive.rewritten(_bytes(path, where), where)
    program = _opened(clean, where)
    if own:
        return Captured(program=program, how=_how(own), output=own.get("output"), notes=tuple(map(str, own.get("notes", ()))))
    return _settled(program, where, output, size)


def _how(own: dict[str, Any]) -> Any:
    return "traced" if own.get("how") == "traced" else "exported"


def _bytes(path: Path, where: str) -> bytes:
    if path.is_dir():
        raise SourceError(f"{where} {file_kinds.folder_as(path)}")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise SourceError(f"{where} does not exist: give a file that torch.export.save wrote") from error
    except OSError as error:
        raise SourceError(f"{where} cannot be read: {error.strerror}") from error
    if not data.startswith(b"PK"):
        told = file_kinds.told_by_content(data[: file_kinds.HEAD_BYTES], path) if data else "it is empty (0 bytes)"
        raise SourceError(f"{where} is no captured program: {told or 'it is no zip archive'}")
    return data


def _opened(data: bytes, where: str) -> ExportedProgram:
    import torch
    from torch.export.pt2_archive._package import load_pt2  # torch.export.load is this, but hides what went wrong

    try:
        with faults.quiet():
            program: ExportedProgram = load_pt2(io.BytesIO(data)).exported_programs["model"]
            return program
    except Exception as error:
        raise SourceError(
            f"{where} cannot be opened by torch {torch.__version__}: {faults.one_line(error)}. It may be damaged, or saved by "
            "another "
            "torch: export it again with this one"
        ) from error


def _settled(program: ExportedProgram, where: str, output: str | None, size: tuple[int, int] | None) -> Captured:
    """Anybody's program, as one of a single image that gives its scores alone."""
    import torch

    training = [str(node.target) for node in program.graph.nodes if graphs.in_training(node)]
    if training:
        raise SourceError(
            f"{where} was captured in training mode ({training[0].removeprefix('aten.')}): export module.eval() instead"
        )
    other = sorted({f"{value.dtype}".removeprefix("torch.") for value in program.state_dict.values() if _is_other_float(value)})
    if other:
        raise SourceError(f"{where} has weights in {', '.join(other)}: export the module in fp32, module.float()")
    name, place = _output(program, output)
    shape = _image_shape(program, where, size)
    sample = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    module = graphs.module_of(program, place)
    before = outputs.buffers(module)
    try:
        with torch.no_grad(), faults.quiet():
            first, again = module(sample), module(sample)
        outputs.check_unchanged(module, before)
        outputs.check_scores(first, name)
        made = graphs.tidied(graphs.exported(module, sample))
    except SourceError as error:
        raise SourceError(f"{where}: {error}") from error
    except Exception as error:
        raise SourceError(
            f"{where} cannot compute one image of {' x '.join(map(str, shape[1:]))}: {faults.one_line(error)}. Export it for "
            "one image"
        ) from error
    if not torch.equal(first, again):
        raise SourceError(f"{where} gives other scores for the same image: something in it is random. Export module.eval()")
    return Captured(program=made, how="exported", output=name or None)


def _output(program: ExportedProgram, wanted: str | None) -> tuple[str, int]:
    """The name of the output that is meant, and its place among all."""
    import torch

    (end,) = [node for node in program.graph.nodes if node.op == "output"]
    values = [getattr(node, "meta", {}).get("val") for node in torch.utils._pytree.tree_leaves(end.args[0])]
    result = torch.utils._pytree.tree_unflatten(values, program.call_spec.out_spec)
    name = outputs.choose(result, wanted)
    return name, next(place for place, value in enumerate(values) if value is outputs.named(result)[name])


def _image_shape(program: ExportedProgram, where: str, size: tuple[int, int] | None) -> tuple[int, int, int, int]:
    graphs.check_input(program)
    (image,) = graphs.user_inputs(program)
    batch, channels, height, width = image.shape
    if isinstance(batch, int) and batch != 1:
        raise SourceError(f"{where} was captured for {batch} images at once: export it with an example of one image")
    found = [side if isinstance(side, int) else None for side in (height, width)]
    given = size if size is not None else tuple(_hint(side) for side in (height, width))
    if any(side is not None and side != wanted for side, wanted in zip(found, given, strict=True)):
        raise SourceError(
            f"{where} takes images of {height} x {width} (height x width), and --input-size is {given[0]} x {given[1]}"
        )
    return 1, _hint(channels), *given  # type: ignore[return-value]  # given has two


def _hint(side: Any) -> int:
    """A size, of an open one that of the example it was captured with."""
    return side if isinstance(side, int) else int(side.node.hint)


def _is_other_float(value: torch.Tensor) -> bool:
    import torch

    return bool(value.is_floating_point() and value.dtype != torch.float32)
