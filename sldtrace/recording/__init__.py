"""The recording file: schema (from bpf/events.h), writer, reader, recovery."""
