"""`sldtrace top`: VMs and vCPUs that trap, as a table that is written again each second."""
