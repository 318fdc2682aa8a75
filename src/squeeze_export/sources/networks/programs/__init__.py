"""Programs of torch.export: their graphs, and the archives that they are saved in."""
