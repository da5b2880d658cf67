"""Job runs of Amazon EMR Serverless applications."""
