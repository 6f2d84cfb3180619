"""What observing a KVM host costs its guests, side by side in the lab; see benchmarks/observer.py."""
