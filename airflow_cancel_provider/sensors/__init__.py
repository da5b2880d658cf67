"""Sensors that wait until remote jobs have ended."""
