"""Change the decisions, one at a time, and see which changes the fast tests notice: ``make mutants``.

``groups`` says which modules with which tests; ``changes`` makes the changes (with cosmic-ray); ``noticed``
finds the tests that reach a line; ``forked`` runs tests in a process that has its imports already.
"""
