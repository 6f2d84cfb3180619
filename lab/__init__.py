"""The lab: an emulated Intel host with split-lock detection that boots stock Debian kernels."""
