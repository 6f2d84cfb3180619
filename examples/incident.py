# %% [markdown]
# # An incident, in pandas
#
# A VM hangs. Which vCPU, since when, why, and what would help? The answers come from the tables that
# `sldtrace export --format parquet` writes, without sldtrace itself. Run it cell by cell in Jupyter, VS Code
# or Spyder, or as a program: `python examples/incident.py [DIRECTORY]`. Without a directory it exports a
# recording of the emulated host.

# %%
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

RECORDING = Path(__file__).parents[1] / "tests/reporters/recordings/lab-early-return-loop.sld"

given = [Path(name) for name in sys.argv[1:] if Path(name).is_dir()]
temporary = tempfile.TemporaryDirectory(prefix="sldtrace-")  # removed at the end
folder = given[0] if given else Path(temporary.name) / "incident"
if not given:
    command = [sys.executable, "-m", "sldtrace", "export", "--format", "parquet"]
    subprocess.run([*command, "-o", str(folder), str(RECORDING)], check=True)

traps = pd.read_parquet(folder / "trap.parquet").sort_values("start_ns", ignore_index=True)
facts = json.loads((folder / "recording.json").read_text())["facts"]

# %% [markdown]
# ## Which vCPU?
#
# The one with the most early returns: after each of them the same instruction traps again.

# %%
threads = traps.groupby(["tgid", "tid"]).agg(
    vcpu=("vcpu", "last"),
    traps=("rip", "size"),
    early_returns=("early_return", "sum"),
    progress=("detection_off", "sum"),
    first=("time", "first"),
    last=("time", "last"),
)
threads = threads.reset_index().sort_values("early_returns", ascending=False)
print(threads.to_string(index=False))
worst = threads.iloc[0]
mine = traps[(traps["tgid"] == worst["tgid"]) & (traps["tid"] == worst["tid"])]

# %% [markdown]
# ## Since when, and is there any progress?
#
# `progress` counts the traps after which detection was off, so that the instruction could execute.

# %%
first, last = worst["first"], worst["last"]
print(f"vCPU {worst['vcpu']}, TID {worst['tid']}, from {first:%H:%M:%S} to {last:%H:%M:%S} UTC")
early, progress = worst["early_returns"], worst["progress"]
print(f"{early:,} of {worst['traps']:,} traps returned early, {progress:,} made progress")

# %% [markdown]
# ## Why?
#
# A signal ends each sleep. If its period is shorter than the sleep, no sleep completes.

# %%
period = mine.loc[mine["signal_ns"] > 0, "signal_ns"].diff().median()
slept = mine["sleep_ns"].median()
tick = facts["kernel"]["tick_ns"]
print(f"signal {mine['signal'].mode()[0]} every {period / 1e6:.2f} ms ends sleeps after {slept / 1e6:.2f} ms")
whole = mine["sleep_requested_ms"].max()
print(f"a whole sleep takes at least {whole} ms, counted in ticks of {tick / 1e6:g} ms")

# %% [markdown]
# ## What would help?
#
# A longer period, or no penalty. `sldtrace report` has all remedies with their costs, and after a change
# `sldtrace compare before.sld after.sld` says whether it helped.

# %%
mitigate = facts["split_lock"].get("mitigate")
if mitigate:
    print("at once, on the host: sysctl kernel.split_lock_mitigate=0")
    print("to undo it:           sysctl kernel.split_lock_mitigate=1")
