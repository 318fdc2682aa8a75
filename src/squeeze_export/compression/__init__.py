"""What a network's weights become: palettes, zeros and integers chosen with the activations they meet. Writes no file format."""
