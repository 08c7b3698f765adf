"""What a change of a stack's configuration would do, told before it is merged."""
