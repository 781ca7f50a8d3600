/** 'error': the run is lost or wasted as it is; 'warning': it would do better otherwise; 'info': worth knowing. */
export type Severity = 'error' | 'warning' | 'info';

/** What is wrong with a run, why one can say so, and what to do. */
export interface Finding {
  /** The rule: 'overfitting'. A run has one finding of a rule at most. */
  readonly rule: string;
  readonly severity: Severity;
  /** The step at which it is first to be seen. */
  readonly since: number;
  readonly title: string;
  /** Figures and steps, in a sentence. */
  readonly evidence: string;
  /** The same figures, for programs. */
  readonly figures: Readonly<Record<string, number>>;
  /** The next action, in one sentence. */
  readonly action: string;
  /** Where the rule, its thresholds and the remedies are explained. */
  readonly docs: string;
  /** The samples of the batches concerned, where the history has them. */
  readonly sampleIds?: readonly number[];
}

/** What a rule sees; the rest is the rule's. */
export type Found = Omit<Finding, 'rule' | 'docs'>;

const order: readonly Severity[] = ['error', 'warning', 'info'];
export const bySeverity = (a: Finding, b: Finding): number => order.indexOf(a.severity) - order.indexOf(b.severity);
