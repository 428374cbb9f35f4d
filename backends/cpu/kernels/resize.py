"""Resized images: nearest and bilinear."""
