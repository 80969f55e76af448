"""What comes from outside a campaign: a user's own images, other people's sets."""
