"""Compile, attach, drain, write; imports bcc and numpy, never pandas."""
