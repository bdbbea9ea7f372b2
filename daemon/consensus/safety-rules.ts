/**
 * Rules of Algorithm 1 that keep two values from being decided, as a value. Every daemon follows all of them; the simulation
 * of towns takes one away, to see that its checks find it.
 */
export interface SafetyRules {
  /** Lines 22 and 28: who is locked prevotes another value only after a later polka for that. */
  readonly keepsLock: boolean;
  /** Lines 28 and 36: a polka is a quorum of prevotes. Without the rule one prevote is enough. */
  readonly needsPolka: boolean;
}

export const ALL_RULES: SafetyRules = { keepsLock: true, needsPolka: true };
