"""Campaigns: from params files to cells, plans and costs."""
