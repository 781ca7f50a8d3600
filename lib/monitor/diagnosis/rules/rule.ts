import type { Found } from '../finding.ts';
import type { RunView } from '../view.ts';

/** One illness: how it is recognised. */
export interface Rule {
  readonly name: string;
  /** Rules that explain what this one would say: where one of them has found something, this one is silent. */
  readonly unless?: readonly string[];
  find(run: RunView): Found | undefined;
}
