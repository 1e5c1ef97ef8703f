"""Choose how a model merges on its user's own videos."""
