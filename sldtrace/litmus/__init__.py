"""Executes a few split locks in this program, and says what each costs and who charges it."""
