"""sldtrace: why a virtual machine is slowed or frozen by x86 split-lock detection, and the proof."""

__version__ = "0.1.0"
