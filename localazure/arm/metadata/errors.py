"""This room has one public document and no errors of its own."""
