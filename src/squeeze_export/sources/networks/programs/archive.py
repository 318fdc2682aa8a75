"""A `.pt2` archive looked through before PyTorch opens it, and written anew from what was read: nothing in it is executed.

torch.export.load unpickles what it finds, looks functions up by dotted names, imports modules for its trees and evaluates texts.
So only an archive whose every name is known goes on, in a copy without what no exporter needs (stack traces, guards, compiled
code).
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, Final

from squeeze_export.errors import SourceError

OWN: Final = "extra/squeeze_export.json"
_MODEL: Final = "models/model.json"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)

_PLAIN: Final = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id|alignment)|models/model\.json|"
    r"data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)|"
    r"data/sample_inputs/model\.pt|extra/[^/]+"
)
_KEPT: Final = re.compile(r"(?!\.data/(?!version)|extra/).*")
_OPERATIONS: Final = re.compile(
    r"torch\.ops\.(aten|prims?)\.(?!from_file|save|load)\w+\.\w+|torch\.sym_\w+|"
    r"_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_)|math\.(ceil|floor|trunc|sqrt)"
)
_SYMBOL: Final = re.compile(r"[a-z]\w{0,20}")
_FUNCTIONS: Final = (
    *("Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CleanDiv"),
    *("CeilToInt", "FloorToInt", "TruncToInt", "ToFloat", "IntTrueDiv", "Eq", "Ne", "Ge", "Gt", "Le", "Lt", "And", "Or", "Not"),
)
_ARITHMETIC: Final = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
    *(ast.Constant, ast.Load, ast.Name, ast.Call, ast.keyword),
)
_TREES: Final = (None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")


def rewritten(data: bytes, where: str) -> tuple[bytes, dict[str, Any]]:
    """A safe copy of an archive, the same bytes for the same contents, and what this package wrote beside it ({} for others').

    Raises SourceError that names what was found, where the archive is damaged, something else, of another version, or asks for
    code.
    """
    members = _members(data, where)
    if "models/model.json" not in members:
        raise SourceError(f"{where} is no captured program: {_what_it_is(members)}")
    version = members.get("archive_version", b"").decode("utf-8", "replace").strip()
    strange = [name for name in members if _PLAIN.fullmatch(name) is None]
    if strange:
        raise SourceError(f"{where} is refused and nothing in it was executed: it holds {_strange(strange[0])}. {_AGAIN}")
    program = _json(members[_MODEL], _MODEL, where)
    _check_version(program, version, where)
    _check_program(program, where)
    for name in ("weights", "constants"):
        _check_config(members.get(f"data/{name}/model_{name}_config.json", b"{}"), name, where)
    _check_sample(members.get("data/sample_inputs/model.pt"), where)
    members[_MODEL] = json.dumps(_stripped(program), separators=(",", ":")).encode("utf-8")
    own = _json(members[OWN], OWN, where) if OWN in members else {}
    return _written({name: content for name, content in members.items() if _KEPT.fullmatch(name)}), own


def with_own(data: bytes, own: Mapping[str, Any]) -> bytes:
    """An archive with what this package says of it beside the program."""
    members = _members(data, "the archive")
    members[OWN] = json.dumps(own, sort_keys=True).encode("utf-8")
    return _written(members)


_AGAIN: Final = (
    "Where it was made, export the module again: torch.export.save(torch.export.export(module.eval(), (image,)), 'model.pt2')"
)


def _members(data: bytes, where: str) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if not any(member.header_offset == 0 for member in archive.infolist()):
                raise zipfile.BadZipFile("its directory is missing")  # and that of an archive inside it was taken for its own
            roots = {name.partition("/")[0] for name in names}
            root = f"{roots.pop()}/" if len(roots) == 1 and all("/" in name for name in names) else ""
            if len(set(names)) != len(names):
                raise SourceError(f"{where} is refused: two of its members have the same name")
            if sum(member.file_size for member in archive.infolist()) > 4 * len(data) + (1 << 20):
                raise SourceError(f"{where} is refused: it unpacks to many times its size, which no program does")
            damaged = archive.testzip()
            if damaged is not None:
                raise SourceError(f"{where} is damaged: {damaged} fails its checksum; download or copy it again")
            return {name.removeprefix(root): archive.read(name) for name in names if not name.endswith("/")}
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, OverflowError) as error:
        raise SourceError(f"{where} cannot be read: it is cut short, or damaged ({error}). Download or copy it again") from error


def _written(members: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(f"archive/{name}", _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, content)
    return made.getvalue()


def _what_it_is(members: Mapping[str, bytes]) -> str:
    names = sorted(members)
    if "constants.pkl" in members or any(name.startswith("code/") for name in names):
        return f"it is a TorchScript archive. {_AGAIN}"
    if "data.pkl" in members:
        return "it holds weights or a pickled module, by torch.save. Pass weights as --weights, and their network as --model"
    if "serialized_exported_program.json" in members:
        return "it is a program that torch before 2.8 saved. Load it there, and export the module again with torch 2.8 or later"
    if any(name.startswith("data/aotinductor/") for name in names):
        return "it is compiled code (AOTInductor). Give the program that it was compiled from"
    if any(name.startswith("models/") for name in names):
        return f"it has no program called model, but {', '.join(name for name in names if name.startswith('models/'))}"
    return f"it is a zip archive of {', '.join(names[:4]) or 'nothing'}. {_AGAIN}"


def _strange(name: str) -> str:
    if "aotinductor" in name:
        return f"compiled code ({name})"
    if re.search(r"custom_obj|opaque_obj", name):
        return f"a pickled object of a class of its own ({name}), which would have to be executed"
    return f"a member that no program of torch.export has ({name[:80]})"


def _json(data: bytes, name: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where} is damaged: {name} is no JSON ({error}). Export it again") from error
    if not isinstance(found, dict):
        raise SourceError(f"{where} is damaged: {name} holds a {type(found).__name__}. Export it again")
    return found


def _check_version(program: Mapping[str, Any], version: str, where: str) -> None:
    import torch
    from torch._export.serde.schema import SCHEMA_VERSION
    from torch.export.pt2_archive.constants import ARCHIVE_VERSION_VALUE

    schema = program.get("schema_version")
    major = schema.get("major") if isinstance(schema, dict) else None
    if version != ARCHIVE_VERSION_VALUE or major != SCHEMA_VERSION[0]:
        raise SourceError(
            f"{where} was saved by torch {str(program.get('torch_version'))[:40]}, in version {version or '?'}.{major} of the "
            "format; torch "
            f"{torch.__version__} here reads {ARCHIVE_VERSION_VALUE}.{SCHEMA_VERSION[0]}. Export the module again with torch "
            f"{'.'.join(torch.__version__.split('.')[:2])}"
        )


def _check_program(program: Mapping[str, Any], where: str) -> None:
    """Every name that torch would look up, import or evaluate must be one of those known to be harmless."""
    for key, value in _entries(program):
        if key == "target" and isinstance(value, str) and _OPERATIONS.fullmatch(value) is None:
            raise SourceError(
                f"{where} is refused and nothing in it was executed: it calls {value[:80]}, and only PyTorch's own operations "
                f"(torch.ops.aten) are. Export the module without it, or under torch.no_grad()"
            )
        if key in ("as_graph", "as_custom_obj", "as_operator", "custom_obj", "token"):
            raise SourceError(f"{where} is refused: it holds a {key.removeprefix('as_')}, which no phone format has. {_AGAIN}")
        if key == "expr_str" and not _is_arithmetic(value):
            raise SourceError(f"{where} is refused: a size in it is {str(value)[:80]!r}, which is no arithmetic. {_AGAIN}")
        if key in ("in_spec", "out_spec"):
            _check_tree(value, where)
    ranges = program.get("range_constraints")
    for name in ranges if isinstance(ranges, dict) else ():
        if not _is_arithmetic(name):
            raise SourceError(f"{where} is refused: a size in it is called {name[:80]!r}, which is no arithmetic. {_AGAIN}")


def _is_arithmetic(text: object) -> bool:
    """Whether a text, which sympy would evaluate, holds numbers, symbols and known functions of them only."""
    if not isinstance(text, str) or len(text) > 500:
        return False
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    called = [node.func for node in nodes if isinstance(node, ast.Call)]
    return all(
        isinstance(node, _ARITHMETIC)
        and (not isinstance(node, ast.Call) or isinstance(node.func, ast.Name))
        and (
            not isinstance(node, ast.Name) or node.id in (_FUNCTIONS if node in called else ("true", "false")) or _is_symbol(node)
        )
        and (not isinstance(node, ast.Constant) or not isinstance(node.value, str) or _SYMBOL.fullmatch(node.value) is not None)
        for node in nodes
    )


def _is_symbol(node: ast.Name) -> bool:
    return re.fullmatch(r"[su]\d+", node.id) is not None


def _check_tree(spec: object, where: str) -> None:
    try:
        tree = json.loads(spec) if isinstance(spec, str) else None
    except (ValueError, RecursionError):
        tree = None
    kinds = [value for key, value in _entries(tree) if key == "type"]
    unknown = [kind for kind in kinds if kind not in _TREES]
    if tree is None or unknown:
        raise SourceError(
            f"{where} takes or gives {str(unknown[0])[:80] if unknown else 'a damaged tree'}: only tensors, tuples, lists and "
            "dicts of them "
            "are read. Export a module that gives the scores alone"
        )


def _check_config(data: bytes, kind: str, where: str) -> None:
    config = _json(data, kind, where).get("config", {})
    for name, payload in config.items() if isinstance(config, dict) else ():
        if not isinstance(payload, dict) or payload.get("use_pickle") is not False:
            raise SourceError(
                f"{where} is refused and nothing in it was executed: {str(name)[:80]} is a pickle, no plain tensor. Export "
                "the module in "
                "plain fp32"
            )
        if re.fullmatch(r"(weight|tensor)_\d+", str(payload.get("path_name"))) is None:
            raise SourceError(f"{where} is damaged: {str(name)[:80]} stands in no known member. {_AGAIN}")


def _check_sample(data: bytes | None, where: str) -> None:
    """Sample inputs are a pickle, and torch would execute it where it is no plain one."""
    import torch

    if not data:
        return
    try:
        torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:
        asked = re.search(r"(?:GLOBAL|Unsupported (?:class|operand|global:? ?GLOBAL)?)\s*([\w.]+)", str(error))
        raise SourceError(
            f"{where} is refused and nothing in it was executed: its sample inputs are a pickle that asks for "
            f"{asked[1] if asked else 'more than tensors'}. {_AGAIN}"
        ) from error


def _entries(value: object, depth: int = 0) -> Iterator[tuple[str, object]]:
    """Every key with its value, at any depth."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key), inner
            yield from _entries(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _entries(inner, depth + 1)


def _stripped(program: Mapping[str, Any]) -> dict[str, Any]:
    """Without stack traces (they hold somebody's paths) and guards (torch would execute their text)."""
    made: dict[str, Any] = json.loads(json.dumps(program))
    for node in _nodes(made):
        node["metadata"] = {}
    made["guards_code"] = []
    module = made.get("graph_module")
    if isinstance(module, dict):
        module["metadata"] = {}
    return made


def _nodes(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("target"), str) and "inputs" in value:
            yield value
        for inner in value.values():
            yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)
