"""Operators that cancel remote jobs, and one that starts them where no other provider does."""
