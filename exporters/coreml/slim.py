"""A smaller program that says the same: identical constants once, short names. Half of model.mlmodel is neither."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, product
from string import ascii_lowercase
from typing import Any

from squeeze_export.exporters.coreml.package import blocks


def slim(spec: Any) -> None:
    """Merge identical constants and shorten every name that only the program itself uses; in place, deterministic."""
    for block in blocks(spec):
        _merge_constants(block)
    for name in spec.mlProgram.functions:
        function = spec.mlProgram.functions[name]
        public = {value.name for value in function.inputs}
        for block in function.block_specializations.values():
            _shorten(block, public | set(block.outputs))


def _merge_constants(block: Any) -> None:
    """Keep the first of the constants that differ only in their names."""
    first: dict[bytes, str] = {}
    instead: dict[str, str] = {}
    kept = []
    for operation in block.operations:
        if operation.type == "const" and operation.outputs[0].name not in block.outputs:
            key = operation.attributes["val"].SerializeToString(deterministic=True)
            name = operation.outputs[0].name
            if first.setdefault(key, name) != name:
                instead[name] = first[key]
                continue
        kept.append(type(operation).FromString(operation.SerializeToString()))
    if not instead:
        return
    del block.operations[:]
    block.operations.extend(kept)
    _rename_inputs(block, instead)


def _shorten(block: Any, public: set[str]) -> None:
    fresh = (name for name in _short_names() if name not in public)
    renamed: dict[str, str] = {}
    for operation in block.operations:
        for output in operation.outputs:
            if output.name not in public:
                renamed[output.name] = output.name = next(fresh)
        # Tools show the operation's own name; the loader wants one for each.
        name = operation.attributes["name"].immediateValue.tensor.strings
        name.values[:] = [operation.outputs[0].name]
    _rename_inputs(block, renamed)


def _rename_inputs(block: Any, renamed: dict[str, str]) -> None:
    for operation in block.operations:
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "name":
                    binding.name = renamed.get(binding.name, binding.name)


def _short_names() -> Iterator[str]:
    for length in count(1):
        for letters in product(ascii_lowercase, repeat=length):
            yield "".join(letters)
