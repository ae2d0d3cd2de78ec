//! An S3 in memory for tests and the demo.
