"""Scheduling policies. One file a policy, one line in the table; `module:Class` names one of the user's own."""

POLICIES: dict[str, str] = {
    "fixed": "sfumato.policies.fixed:Fixed",
    "edf": "sfumato.policies.ordered:EarliestDeadline",
    "srtf": "sfumato.policies.ordered:ShortestRemaining",
    "srtf_stages": "sfumato.policies.ordered:ShortestStage",
    "sjf": "sfumato.policies.sjf:ShortestJob",
    "static": "sfumato.policies.static:Static",
    "bucketed": "sfumato.policies.bucketed:Bucketed",
    "same_size": "sfumato.policies.same_size:SameSize",
    "mixed": "sfumato.policies.mixed:Mixed",
    "patchedserve": "sfumato.policies.patchedserve:PatchedServe",
    "sfumato": "sfumato.policies.sfumato:Sfumato",
    "genserve": "sfumato.policies.genserve:GenServe",
    "tetriserve": "sfumato.policies.tetriserve:TetriServe",
    "tridentserve": "sfumato.policies.tridentserve:TridentServe",
}
