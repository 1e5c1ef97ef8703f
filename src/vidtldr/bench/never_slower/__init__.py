"""The table from the speed issues, row by row: merged is never slower, on any machine."""
