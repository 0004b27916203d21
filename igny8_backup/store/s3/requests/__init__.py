"""Send requests to one S3 bucket: repeat them where that may help, and translate the errors.

``bucket.Bucket`` is the entry point. ``client`` makes the boto3 client; ``errors`` and ``advice`` explain
failures.
"""
