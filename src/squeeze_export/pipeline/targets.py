"""`targets`: what can be exported and executed on this machine, by what, and what is missing or broken."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from squeeze_export.contracts.artifact import DEFAULT_PRECISION, TARGETS, Precision, Target
from squeeze_export.contracts.request import Progress
from squeeze_export.exporters import EXPORTERS
from squeeze_export.exporters.tflite import exporter as tflite
from squeeze_export.sdks import EXTRAS, SOURCES, missing, probe, probe_order, reinstalling
from squeeze_export.validation.runners import RUNNERS, WITNESSES
from squeeze_export.versions import versions_of


@dataclass(frozen=True, kw_only=True)
class RouteState:
    """One way to make a target; `unavailable`: why it cannot be taken here, or None."""

    name: str
    default: bool
    versions: dict[str, str]
    unavailable: str | None


@dataclass(frozen=True, kw_only=True)
class ExecutorState:
    """One executor of a target; `decides`: its verdict is the artifact's; `witness`: heard where asked for."""

    name: str
    decides: bool
    witness: bool
    versions: dict[str, str]
    unavailable: str | None


@dataclass(frozen=True, kw_only=True)
class TargetState:
    """One target on this machine; `unavailable`: why it cannot be exported by its default route, or None."""

    target: Target
    precisions: tuple[Precision, ...]
    default_precision: Precision
    suffix: str
    versions: dict[str, str]
    unavailable: str | None
    routes: tuple[RouteState, ...]
    executors: tuple[ExecutorState, ...]


@dataclass(frozen=True, kw_only=True)
class SourceState:
    """A library that builds source models, which `form` names; `unavailable`: why it cannot here, or None."""

    library: str
    form: str
    versions: dict[str, str]
    unavailable: str | None


def source_states(broken: Mapping[str, str] | None = None) -> tuple[SourceState, ...]:
    """Look at every library of source models without loading it; `broken` as for target_states."""
    return tuple(
        SourceState(
            library=library,
            form=form,
            versions=versions_of((library,)),
            unavailable=missing(EXTRAS[library], extra=library) or _broken((library,), broken or {}),
        )
        for library, form in SOURCES.items()
    )


def target_states(broken: Mapping[str, str] | None = None) -> tuple[TargetState, ...]:
    """Look at every target without loading an SDK; `broken`: what `broken_sdks` found, by distribution."""
    return tuple(_state(target, broken or {}) for target in TARGETS)


def broken_sdks(progress: Progress) -> dict[str, str]:
    """Import every installed SDK, each in a process of its own, two at a time: installed is not the same as working."""
    packages = set[str](SOURCES)
    for target in TARGETS:
        packages |= {package for _, _, own in _routes(target) for package in own}
        packages |= {package for runner in (*RUNNERS[target], *WITNESSES.get(target, ())) for package in runner.PACKAGES}
    found: dict[str, str] = {}
    running: list[subprocess.Popen[str]] = []
    stopped = False

    def look(distribution: str, covered: tuple[str, ...]) -> None:
        began = time.monotonic()
        progress.stage(distribution, "importing")
        reason = probe(distribution, running.append)
        if stopped:
            return
        progress.done(distribution, "ready" if reason is None else "error", time.monotonic() - began)
        if reason is not None:
            found[distribution] = reason
            for name in covered:
                look(name, ())
            if any(name in found for name in covered):
                del found[distribution]  # it is whole; what it stands on is not

    with ThreadPoolExecutor(max_workers=2) as pool:
        try:
            for done in [pool.submit(look, *what) for what in probe_order(versions_of(packages))]:
                done.result()
        except BaseException:  # Ctrl-C above all: not after all the imports that are still to come
            stopped = True
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.kill()
            raise
    return found


def _state(target: Target, broken: Mapping[str, str]) -> TargetState:
    routes = tuple(
        RouteState(
            name=name,
            default=place == 0,
            versions=versions_of(packages),
            unavailable=reason or _broken(packages, broken),
        )
        for place, (name, reason, packages) in enumerate(_routes(target))
    )
    modules = [(runner, False) for runner in RUNNERS[target]] + [(runner, True) for runner in WITNESSES.get(target, ())]
    return TargetState(
        target=target,
        precisions=EXPORTERS[target].PRECISIONS,
        default_precision=DEFAULT_PRECISION[target],
        suffix=EXPORTERS[target].SUFFIX,
        versions=routes[0].versions,
        unavailable=routes[0].unavailable,
        routes=routes,
        executors=tuple(
            ExecutorState(
                name=runner.NAME,
                decides=place == 0,
                witness=witness,
                versions=versions_of(runner.PACKAGES),
                unavailable=runner.unavailable() or _broken(runner.PACKAGES, broken),
            )
            for place, (runner, witness) in enumerate(modules)
        ),
    )


_CONVERTERS: Mapping[Target, str] = {"coreml": "coremltools", "torchscript": "torch.jit", "onnx": "torch.onnx"}


def _routes(target: Target) -> list[tuple[str, str | None, tuple[str, ...]]]:
    """Name, reason why not, and distributions of each route, the default one first."""
    if target == "tflite":
        return [(route, tflite.unavailable(route), packages) for route, packages in tflite.ROUTES.items()]
    return [(_CONVERTERS[target], EXPORTERS[target].unavailable(), EXPORTERS[target].PACKAGES)]


def _broken(packages: Iterable[str], broken: Mapping[str, str]) -> str | None:
    return (
        "; ".join(
            f"{package} is installed but broken: {broken[package].rstrip('.')}: {reinstalling(package)}"
            for package in packages
            if package in broken
        )
        or None
    )
