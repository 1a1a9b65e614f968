"""Music in four voices: data, the network, scores."""
