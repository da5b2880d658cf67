"""Property-based tests of everything that others write: what is sent to us, stored for us or typed in.

``make test`` tries few examples of each; ``make fuzz`` many: ``FUZZ`` says how many times more.
"""
