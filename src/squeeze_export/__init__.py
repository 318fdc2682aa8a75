"""Export one PyTorch image classifier to phones, and prove each artifact from its saved file."""
