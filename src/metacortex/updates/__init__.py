"""Inner update rules: how fast weights follow the gradient of the support loss."""
