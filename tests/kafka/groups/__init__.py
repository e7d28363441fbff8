"""Several instances of a job as a group, against a real broker."""
