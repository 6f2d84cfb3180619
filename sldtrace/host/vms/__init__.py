"""Which VMs run on this host, what they are called, and which thread is which vCPU."""
