"""The kernel side of a recording: build, load and attach the probes, and read what they leave in maps."""
