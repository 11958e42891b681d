"""Trying many configurations: sweeps, searches, and what they have in common."""
