"""The running VMs: VMMs, names of VMs, and the vCPU of each thread."""
