"""What operators and sensors share: the jobs, the connection, the wait, and the cancel on a kill."""
