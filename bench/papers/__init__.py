"""What four papers claim of their schedulers, in which setting we look, and how we judge: a file each.

A setting is a workload of the suite, at a rate and SLO scale, on a part of its pool where that is large, with the runs
that are compared in it. A claim says what is reported, reads our scores, and why a difference would be no surprise.
"""

from __future__ import annotations

from bench.papers.genserve import GENSERVE
from bench.papers.patchedserve import PATCHEDSERVE
from bench.papers.tetriserve import TETRISERVE
from bench.papers.tridentserve import TRIDENTSERVE

PAPERS = (TETRISERVE, GENSERVE, TRIDENTSERVE, PATCHEDSERVE)
