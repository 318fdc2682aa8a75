"""TFLite files of networks other than SqueezeNet, captured by torch.export: nothing is folded; partition.py rewrites."""
