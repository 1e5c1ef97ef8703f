"""Turn a budget of FLOPs, tokens or time into the token counts of one model."""
