"""TorchScript Lite: float and quantised files."""
