"""What Prometheus gets: counters of each VM, as a file and over HTTP."""
