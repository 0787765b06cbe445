"""Backbones, heads and normalisation layers; imports nothing else of metacortex but its errors."""
