"""Task complexity: how few bits adapt a language model to a task."""
