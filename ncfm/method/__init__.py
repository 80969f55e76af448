"""The method's mathematics and its training: no files of a campaign, no stages."""
