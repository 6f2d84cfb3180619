"""What the recorder gives back: code comes again when it is needed, nothing of our own is lost."""

import subprocess
import sys

from sldtrace.capture.memory import unmodified

SMAPS = """\
55d0c0000000-55d0c0001000 r--p 00000000 08:01 1                          /usr/bin/python3.13
Size:                  4 kB
Anonymous:             0 kB
VmFlags: rd mr mw me sd
55d0c0001000-55d0c0003000 r-xp 00001000 08:01 1                          /usr/lib/with a space.so
Anonymous:             0 kB
55d0c0003000-55d0c0004000 r--p 00003000 08:01 1                          /usr/lib/relro.so
Anonymous:             4 kB
55d0c0004000-55d0c0005000 rw-p 00003000 08:01 1                          /usr/lib/data.so
Anonymous:             0 kB
55d0c0005000-55d0c0006000 rw-s 00003000 00:0e 1                          anon_inode:bpf-map
Anonymous:             0 kB
55d0c0006000-55d0c0007000 r--s 00003000 08:01 1                          /shared
Anonymous:             0 kB
55d0c0007000-55d0c0008000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
55d0c0008000-55d0c0009000 rw-p 00000000 00:00 0
Anonymous:             0 kB
"""


def test_only_files_that_we_have_no_page_of_our_own_of() -> None:
    found = [(end - start) >> 12 for start, end in unmodified(SMAPS)]
    assert found == [1, 2]
    assert list(unmodified("")) == []


def test_less_is_resident_and_everything_works() -> None:
    code = """
import re, sys, zlib
import numpy as np
from sldtrace.capture import memory
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
table = np.arange(1 << 20)
before = resident()
memory.trim()
after = resident()
assert after < before - 4096, (before, after)
assert int(table.sum()) == (1 << 19) * ((1 << 20) - 1)
assert zlib.decompress(zlib.compress(b"x" * 1000)) == b"x" * 1000
import json, decimal
"""
    subprocess.run([sys.executable, "-c", code], check=True)
