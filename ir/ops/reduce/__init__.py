"""Many elements to one: sums, moments, distances, histograms."""
