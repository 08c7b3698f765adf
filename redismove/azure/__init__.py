"""Azure Resource Manager through Azure's own SDKs; their errors become ours in `errors.py` and nowhere else."""
