"""Pictures: borders, resizing, rectangles of them."""
