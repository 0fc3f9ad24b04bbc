"""What is minimised, and how noisily its gradient is seen."""
