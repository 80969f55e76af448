"""Results that came from elsewhere: let the times of files say what the records say, since Snakemake goes by times."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from ncfm.campaign import campaign as campaigns
from ncfm.campaign.campaign import Campaign
from ncfm.campaign.status import State, states_of
from ncfm.core.layout import record_file
from ncfm.core.store import sha256, storage_errors
from ncfm.run.verify import faults_of
from ncfm.stages import table


def settle(campaign: Campaign) -> str:
    """Make the outputs of every finished cell newer than what they were made of; return how many there are.

    Finished is a cell whose record has the campaign's params, and whose outputs and inputs are what the record says. No
    content changes, so DVC finds nothing new.
    """
    campaigns.write_params(campaign)
    hash_of, done = cache(sha256), 0
    for cell, (state, _) in states_of(campaign).items():  # in the order of the pipeline
        record = Path(record_file(table.output(campaign.name, cell)))
        outputs = [Path(path) for path in table.outputs(campaign.name, cell)]
        finished = state is State.DONE and all(path.is_file() for path in outputs)
        if finished and not any(faults_of(record, hash_of)):
            done += 1
            for path in outputs:
                with storage_errors(path):
                    os.utime(path)
    return f"{campaign.name}: {done} of {len(campaign.cells)} cells are done; snakemake does the others"
