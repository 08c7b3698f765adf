"""What is declared: one component a file, and nothing that decides."""
