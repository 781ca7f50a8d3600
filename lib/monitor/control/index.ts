export { type AskOptions, askRun, lifeOf, listenerOf, type RunLife, whoAmI } from './ask.ts';
export {
  type ControlAnswer,
  type ControlKind,
  type ControlRequest,
  type ControlResult,
  checkRequest,
  controlKinds,
} from './protocol.ts';
