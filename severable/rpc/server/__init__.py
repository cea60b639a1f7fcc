"""The serving side: servicers, and who may call them."""
