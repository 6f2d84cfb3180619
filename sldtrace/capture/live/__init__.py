"""Findings while the recording runs: detect them, report them, run a command."""
