"""Point clouds that move (4D): bodies, sequences from files, a flow of trajectories, scores, animated files."""
