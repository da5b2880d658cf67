"""Cancels of many jobs: how long they take until each was seen to end, beside what the quotas allow."""
