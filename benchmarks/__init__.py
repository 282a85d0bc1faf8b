"""How fast EventServer is, as ratios against floors that run in turn with it."""
