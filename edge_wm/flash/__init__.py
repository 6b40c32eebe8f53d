"""From a blank card to a board that is ready to drive: an official image, and what its first boot has to know."""
