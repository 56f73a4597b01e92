"""A small network on scikit-learn's digits, to compare optimisers on."""
