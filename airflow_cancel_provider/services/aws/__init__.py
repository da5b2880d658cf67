"""What the AWS services share: a boto3 client called patiently, its answers checked, its errors named."""
