"""Whole-process comparisons; README.md says how they are made."""
