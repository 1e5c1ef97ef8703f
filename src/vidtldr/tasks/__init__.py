"""What a person does with a video."""
