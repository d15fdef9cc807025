"""`fer-edge doctor`."""

from __future__ import annotations

from fer_edge.cli import options

EXPORT_PACKAGES = ("torch", "safetensors", "onnx", "onnxscript")  # of the extra `export`


def doctor(json: options.Json = False) -> None:
    """Show which engines this machine can build and run.

    An engine that cannot be built or run is listed with the reason.

    Example: fer-edge doctor
    """
    from dataclasses import asdict
    from importlib.util import find_spec

    from fer_edge.cli.output import print_fields, print_json, print_line, print_table
    from fer_edge.engines.registry import engine_names, engine_status, platform_tag, system_reports
    from fer_edge.environment import environment
    from fer_edge.results import Table

    machine = environment()
    statuses = [engine_status(name) for name in engine_names()]
    systems = system_reports()
    missing = [name for name in EXPORT_PACKAGES if find_spec(name) is None]
    reason = f'missing: {", ".join(missing)}; run: pip install "fer-edge[export]"' if missing else ""
    if json:
        print_json(
            {
                "platform": platform_tag(),
                "environment": machine,
                "engines": [asdict(status) for status in statuses],
                **{
                    name.lower(): {**report.facts, "findings": [asdict(finding) for finding in report.findings]}
                    for name, report in systems.items()
                },
                "pytorch": {"can_run": not missing, "reason": reason},
            }
        )
        return
    rows = [
        (status.engine, status.version or "-", _yes_or_no(status.can_build), _yes_or_no(status.can_run), status.reason)
        for status in statuses
    ]
    rows.append(("pytorch", machine.get("torch", "-"), "-", _yes_or_no(not missing), reason))
    columns = ("engine", "version", "builds", "runs", "reason")
    print_table(Table(f"engines on {platform_tag()}", columns, tuple(rows)))
    if missing:
        print_line(
            f"building from a checkpoint needs the extra `export` ({reason}); "
            "`fer-edge bundle add-engine` builds from a bundle without it"
        )
    for name, report in systems.items():
        for device in report.devices:
            print_line(device)
        for finding in report.findings if report.concerned else ():
            print_line(f"{name}: {finding.problem}: {finding.remedy}")
    print_line("this machine")
    print_fields(list(machine.items()))


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"
