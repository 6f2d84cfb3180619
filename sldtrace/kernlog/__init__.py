"""What the kernel's log says about split locks: who took one, where and when first; never how often."""
