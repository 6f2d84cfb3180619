"""Tests of the recording file."""
