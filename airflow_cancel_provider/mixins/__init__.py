"""What operators and sensors share: which jobs are meant, how they are reached, what a kill does."""
