"""A small convolutional network on scikit-learn's digits, for a study of one's own."""
