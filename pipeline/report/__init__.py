"""Figures from the reduced tables of a study."""
