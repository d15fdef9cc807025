"""`fer-edge doctor`."""

from __future__ import annotations

from fer_edge.cli.options import Json


def doctor(json: Json = False) -> None:
    """Show what this machine can build and run, and why not.

    Example: fer-edge doctor
    """
    from dataclasses import asdict
    from importlib.util import find_spec

    from fer_edge.benchmark.environment import environment
    from fer_edge.cli.output import print_fields, print_json, print_line, print_table
    from fer_edge.engines.registry import ENGINE_MODULES, engine_status, platform_tag
    from fer_edge.engines.tensorrt.diagnostics import diagnose, probe_system, products

    machine = environment()
    statuses = [engine_status(name) for name in ENGINE_MODULES]
    nvidia = probe_system()
    findings = diagnose(nvidia)
    exporting = [name for name in ("torch", "safetensors", "onnx", "onnxscript") if find_spec(name) is None]
    note = f'missing: {", ".join(exporting)}; run: pip install "fer-edge[export]"' if exporting else ""
    if json:
        print_json(
            {
                "platform": platform_tag(),
                "environment": machine,
                "engines": [asdict(status) for status in statuses],
                "nvidia": {**asdict(nvidia), "findings": [asdict(finding) for finding in findings]},
                "pytorch": {"can_run": not exporting, "reason": note},
            }
        )
        return
    rows = [(s.engine, s.version or "-", _word(s.can_build), _word(s.can_run), s.reason) for s in statuses]
    rows.append(("pytorch", machine.get("torch", "-"), "-", _word(not exporting), note))
    print_table(f"engines on {platform_tag()}", ("engine", "version", "builds", "runs", "why not"), rows)
    if exporting:
        print_line(
            f"building from a checkpoint needs the export extra ({note}); add-engine builds from a bundle without it"
        )
    gpus = nvidia.driver.gpus if nvidia.driver is not None else ()
    for gpu in gpus:
        print_line(f"GPU: {gpu.name}, target {gpu.target}, {gpu.memory_mb} MB")
    if gpus or products(nvidia):
        for finding in findings:
            print_line(f"NVIDIA: {finding.problem}: {finding.remedy}")
    print_line("this machine")
    print_fields(list(machine.items()))


def _word(value: bool) -> str:
    return "yes" if value else "no"
