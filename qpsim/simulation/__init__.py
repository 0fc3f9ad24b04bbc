"""An ensemble of runs: plan, blocks, result."""
