export { LossScaler, type LossScalerOptions, type LossScalerState } from './loss-scaler.ts';
