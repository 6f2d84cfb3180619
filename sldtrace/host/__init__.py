"""Facts about this host: kernel, clock tick, CPU flags, boot mode, sysctl, symbols, permissions."""
