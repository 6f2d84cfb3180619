"""Recordings of many hosts: a summary of each, merged."""
