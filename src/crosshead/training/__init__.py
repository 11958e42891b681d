"""Fitting taggers and encoders."""
