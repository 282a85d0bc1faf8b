"""The main job from end to end, narrated; ``device`` is also what an app's author may read."""
