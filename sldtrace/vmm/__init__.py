"""A small KVM monitor that runs the bundled guests."""
