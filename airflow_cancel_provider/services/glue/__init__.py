"""Job runs of AWS Glue."""
