"""The paper's evaluation: retrieval, question answering, multiple choice."""
