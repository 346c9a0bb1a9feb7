"""The demo: a gateway with another provider beside it, and a walk through the main job."""
