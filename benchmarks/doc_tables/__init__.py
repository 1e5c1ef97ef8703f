"""The generated blocks of README.md and docs/, a file for each subject."""
