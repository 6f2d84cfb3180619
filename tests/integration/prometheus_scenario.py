"""Runs in the emulated host: Prometheus scrapes a recorder while one VM is frozen and another is healthy.

usage: prometheus_scenario.py FOLDER (on a machine with root, /dev/kvm, bcc, tracefs and prometheus)

The alert rules are those of examples/monitoring. Then `top` looks at both VMs by itself. As in scenario.py
nothing is asserted here.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.observing import FREE, SLDTRACE, Protocol, Recorder, start_guest

MONITORING = Path("examples/monitoring").absolute()
RULES = MONITORING / "alerts.yml"
ADDRESS = "127.0.0.1:9721"
PROMETHEUS = "http://127.0.0.1:9090"
CONFIGURATION = f"""\
global: {{scrape_interval: 2s, evaluation_interval: 2s}}
rule_files: [{RULES}]
scrape_configs: [{{job_name: sldtrace, static_configs: [{{targets: ["{ADDRESS}"]}}]}}]
"""
SLICE = Path("/sys/fs/cgroup/machine.slice")
PATIENCE_S = 180.0  # of the machine's time


@contextmanager
def beside(*command: str, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A program in the background, which SIGTERM ends."""
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


def named(name: str, *options: str) -> tuple["subprocess.Popen[str]", int, int]:
    """A guest in a cgroup as libvirt names that of a VM."""
    scope = SLICE / rf"machine-qemu\x2d1\x2d{name}.scope"
    scope.mkdir(parents=True)
    (scope / "cgroup.procs").write_text(str(os.getpid()))
    try:
        return start_guest(*options)
    finally:
        (SLICE.parent / "cgroup.procs").write_text(str(os.getpid()))


def asked(path: str) -> Any:
    """An answer of Prometheus' API; None: there is none yet."""
    try:
        with urllib.request.urlopen(PROMETHEUS + path, timeout=60) as answer:
            return json.load(answer)["data"]
    except OSError:
        return None


def alerts() -> list[Any]:
    """Those that are pending or firing."""
    found = asked("/api/v1/alerts")
    return list(found["alerts"]) if found else []


def until(there: Any) -> float:
    """Waits for it; the seconds that it took."""
    begun = time.monotonic()
    while not there() and time.monotonic() - begun < PATIENCE_S:
        time.sleep(1)
    return time.monotonic() - begun


def firing() -> bool:
    """Does an alert fire?"""
    return any(alert["state"] == "firing" for alert in alerts())


def promtool(*arguments: str) -> Protocol:
    """What Debian's promtool says of the rules."""
    done = subprocess.run(["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True)
    return {"status": done.returncode, "said": done.stdout + done.stderr}


def main() -> None:
    """One boot."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    protocol: Protocol = {"kernel": os.uname().release}
    protocol["rules"] = [
        promtool("check", "rules", "alerts.yml"),
        promtool("test", "rules", "alerts.test.yml"),
    ]
    metrics, configuration = folder / "metrics.prom", folder / "prometheus.yml"
    configuration.write_text(CONFIGURATION)
    recorder = Recorder(folder / "host.sld", "--metrics", str(metrics), *FREE)
    endpoint = [*SLDTRACE, "metrics", str(metrics), "--listen", ADDRESS]
    program = ["prometheus", f"--config.file={configuration}", "--storage.tsdb.path=/tmp/tsdb"]
    with (
        recorder,
        beside(*endpoint, log=folder / "endpoint.log"),
        beside(*program, log=folder / "prometheus.log"),
    ):
        healthy, protocol["healthy"], _ = named("healthy", "--timeout", "20ms")
        protocol["ready seconds"] = until(lambda: asked("/api/v1/targets"))
        time.sleep(20)  # longer than the alert waits
        protocol["alerts before"] = alerts()
        frozen, protocol["frozen"], protocol["frozen tid"] = named("frozen", "--timeout", "1ms")
        protocol["alert seconds"] = until(firing)
        protocol["alerts"] = alerts()
        protocol["targets"] = asked("/api/v1/targets")["activeTargets"]
        protocol["traps"] = asked("/api/v1/query?query=sldtrace_traps_total")["result"]
        protocol["livelocked"] = asked("/api/v1/query?query=sldtrace_livelocked_threads")["result"]
        protocol["memory"] = recorder.resources()["memory"]
    protocol["recorder"] = recorder.protocol
    top = subprocess.run([*SLDTRACE, "top", "-d", "2", "-n", "3", "--json"], capture_output=True, text=True)
    protocol["top"] = {"status": top.returncode, "stderr": top.stderr, "lines": top.stdout.splitlines()}
    for guest in (frozen, healthy):
        guest.terminate()
        guest.wait()
    (folder / "protocol.json").write_text(json.dumps(protocol, indent=1))


if __name__ == "__main__":
    main()
