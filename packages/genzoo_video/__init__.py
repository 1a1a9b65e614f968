"""Video: clips from films, pictures and arrays as frames to generate, continue and score."""
