export { type AskOptions, askRun, lifeOf, type RunLife } from './ask.ts';
export type { ControlAnswer, ControlKind, ControlRequest, ControlResult } from './protocol.ts';
