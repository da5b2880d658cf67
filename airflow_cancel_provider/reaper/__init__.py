"""Find and cancel running jobs whose task is over, which everything else has missed."""
