"""Scheduling policies. One file a policy, one line in the table; `module:Class` names one of the user's own."""

POLICIES: dict[str, str] = {
    "fixed": "sfumato.policies.fixed:Fixed",
    "edf": "sfumato.policies.ordered:EarliestDeadline",
    "srtf": "sfumato.policies.ordered:ShortestRemaining",
    "sfumato": "sfumato.policies.sfumato:Sfumato",
    "tetriserve": "sfumato.policies.tetriserve:TetriServe",
}
