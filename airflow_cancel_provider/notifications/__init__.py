"""Callbacks that cancel remote jobs."""
