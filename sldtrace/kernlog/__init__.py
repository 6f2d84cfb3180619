"""Split locks in the kernel's log: which threads took one, where and when first, but not how often."""
