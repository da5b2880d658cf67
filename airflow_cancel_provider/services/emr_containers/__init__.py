"""Job runs of Amazon EMR on EKS."""
