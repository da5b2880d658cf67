"""AWS Batch jobs."""
