export interface Curve {
  steps: Float64Array;
  values: Float64Array;
}
export class Column {
  length: number;
  readonly view: Float64Array;
  push(more: ArrayLike<number>): void;
}
export function parseSeries(numbers: Float64Array): Curve[];
export function overlay(curves: readonly Curve[]): { x: Float64Array; columns: Float64Array[] };
export function plan(names: ReadonlySet<string>): [title: string, metrics: string[]][];
