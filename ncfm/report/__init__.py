"""Tables, figures and verdicts of a campaign."""
