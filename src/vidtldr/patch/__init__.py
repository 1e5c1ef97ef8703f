"""How `apply_patch` changes a loaded model, and what it refuses."""
