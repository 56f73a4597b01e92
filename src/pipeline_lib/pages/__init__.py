"""Tables as standalone HTML pages that can be searched and sorted without a network."""
