"""What the kernel does to a thread that takes a split lock, by kernel version and clock tick."""
