"""The source models: SqueezeNet's four variants, where their weights and labels come from, and how they travel."""
