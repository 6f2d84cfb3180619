# %% [markdown]
# # Evaluate a recording in Python
#
# Run it cell by cell in Jupyter, VS Code or Spyder, or as a program:
# `python examples/notebook.py [FILE.sld ...]`. Without a file it simulates two recordings: a vCPU with a 1 ms
# timer that makes no progress, and four vCPUs that wait for each other's penalties.

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

import sldtrace

SIMULATE = [sys.executable, "-m", "sldtrace", "simulate", "--force"]


def simulated(folder: Path) -> list[Path]:
    frozen, queue = folder / "frozen.sld", folder / "queue.sld"
    subprocess.run([*SIMULATE, "-o", frozen, "--timer", "1ms", "--exits", "-d", "3s"], check=True)
    subprocess.run([*SIMULATE, "-o", queue, "--timer", "none", "--vcpus", "4", "--cpus", "4"], check=True)
    return [frozen, queue]


given = [Path(name) for name in sys.argv[1:] if name.endswith(".sld")]
folder = tempfile.TemporaryDirectory(prefix="sldtrace-")  # removed at the end
paths = given or simulated(Path(folder.name))

# %% [markdown]
# ## The findings

# %%
recorded = sldtrace.open(paths[0])
for finding in recorded.findings:
    who = finding.subject
    name = f"vCPU {who.vcpu} of {who.vm or who.process}, TID {who.tid}" if who else "the host"
    print(f"{finding.severity.name}: {name} {finding.headline}")
    print(f"  {finding.confidence.name.lower()}: {finding.confidence_reason}")
    for remedy in finding.remedies:
        print(f"  - {remedy.what} Cost: {remedy.cost}.")
print(recorded.threads[["tid", "vcpu", "traps", "early_returns", "completed", "penalty_share", "verdict"]])

# %% [markdown]
# ## The traps of the thread with the most severe finding
#
# How long does each trap last, and how long is the thread in the guest between two traps?

# %%
tid = int(recorded.threads["tid"].iloc[0])
traps = recorded.traps[recorded.traps["tid"] == tid]
traps = traps.assign(time=recorded.wall(traps["start_ns"]), held_ns=traps["end_ns"] - traps["start_ns"])
print(traps[["time", "rip", "held_ns", "guest_ns", "sleep_left_ms", "early_return"]].head())
print(traps.groupby("early_return")[["held_ns", "guest_ns"]].describe(percentiles=[0.5, 0.99]).T)

# %% [markdown]
# ## For each second: traps, early returns, share of the time in penalties

# %%
by_second = traps.set_index("time").resample("1s").agg({"early_return": ["size", "sum"], "sleep_ns": "sum"})
by_second.columns = ["traps", "early", "slept_ns"]
by_second["penalty_share"] = by_second["slept_ns"] / 1e9
print(by_second)

# %% [markdown]
# ## Which signals end the penalties, and how regularly they come

# %%
ended = traps[traps["signal"] > 0]
print(ended.groupby(["signal", "signal_code"]).size())
print(ended["signal_ns"].diff().div(1e6).describe().rename("ms between signals"))

# %% [markdown]
# ## A figure: how long each penalty lasts

# %%
try:
    import matplotlib.pyplot as plt
except ImportError:
    print("(no figure: matplotlib is not installed)")
else:
    figure, axes = plt.subplots()
    seconds = (traps["start_ns"] - traps["start_ns"].min()) / 1e9
    axes.scatter(seconds, traps["held_ns"] / 1e6, s=4, c=traps["early_return"].map({True: "C3", False: "C0"}))
    axes.set(title=f"TID {tid}: early returns are red", xlabel="s", ylabel="ms in the penalty")
    plt.show()

# %% [markdown]
# ## Several recordings: hosts and VMs

# %%
fleet = sldtrace.open_many(paths, skip_unreadable=True)
print(fleet.hosts[["host", "kernel", "mode", "mitigate", "traps", "findings", "worst"]])
print(fleet.findings.groupby(["kind", "severity"], observed=True).size())
worst = fleet.threads.sort_values("penalty_share", ascending=False)
print(worst[["path", "tid", "vcpu", "penalty_share", "verdict"]].head())
for path, error in fleet.unreadable.items():
    print(f"{path.name}: {error}")
