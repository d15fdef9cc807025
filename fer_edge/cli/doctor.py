"""`fer-edge doctor`."""

from __future__ import annotations

from fer_edge.cli.options import Json

EXPORT_PACKAGES = ("torch", "safetensors", "onnx", "onnxscript")  # of the extra `export`


def doctor(json: Json = False) -> None:
    """Show which engines this machine can build and run.

    An engine that cannot be built or run is listed with the reason.

    Example: fer-edge doctor
    """
    from dataclasses import asdict
    from importlib.util import find_spec

    from fer_edge.cli.output import print_fields, print_json, print_line, print_table
    from fer_edge.engines.registry import ENGINE_MODULES, engine_status, platform_tag
    from fer_edge.engines.tensorrt.diagnostics import diagnose, probe_system, products
    from fer_edge.hardware.environment import environment

    machine = environment()
    statuses = [engine_status(name) for name in ENGINE_MODULES]
    system = probe_system()
    findings = diagnose(system)
    missing = [name for name in EXPORT_PACKAGES if find_spec(name) is None]
    reason = f'missing: {", ".join(missing)}; run: pip install "fer-edge[export]"' if missing else ""
    if json:
        print_json(
            {
                "platform": platform_tag(),
                "environment": machine,
                "engines": [asdict(status) for status in statuses],
                "nvidia": {**asdict(system), "findings": [asdict(finding) for finding in findings]},
                "pytorch": {"can_run": not missing, "reason": reason},
            }
        )
        return
    rows = [
        (status.engine, status.version or "-", _yes_or_no(status.can_build), _yes_or_no(status.can_run), status.reason)
        for status in statuses
    ]
    rows.append(("pytorch", machine.get("torch", "-"), "-", _yes_or_no(not missing), reason))
    print_table(f"engines on {platform_tag()}", ("engine", "version", "builds", "runs", "reason"), rows)
    if missing:
        print_line(
            f"building from a checkpoint needs the extra `export` ({reason}); "
            "`fer-edge bundle add-engine` builds from a bundle without it"
        )
    gpus = system.driver.gpus if system.driver is not None else ()
    for gpu in gpus:
        print_line(f"GPU: {gpu.name}, GPU architecture {gpu.target}, {gpu.memory_mb} MB")
    if gpus or products(system):
        for finding in findings:
            print_line(f"NVIDIA: {finding.problem}: {finding.remedy}")
    print_line("this machine")
    print_fields(list(machine.items()))


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"
