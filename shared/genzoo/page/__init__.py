"""The page of `genzoo gallery`: what it shows, and what it is made of."""
