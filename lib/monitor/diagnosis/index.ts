export { diagnose } from './diagnose.ts';
export type { Finding, Severity } from './finding.ts';
