type Values = ArrayLike<number> & { slice(from: number, to: number): Values };

export interface Curve {
  name: string;
  /** One for each x; what is not finite is a gap. */
  values: Values;
  /** 0 to 5: which of the page's colours. Default: the place in the list. */
  color?: number;
  dash?: boolean;
  /** With a dot for each value: for few. */
  points?: boolean;
}
export interface ChartOptions {
  title: string;
  x: Values;
  curves: readonly Curve[];
  /** Pixels. Default 220. */
  height?: number;
  /** Charts of a group zoom together. Default 'all'. */
  group?: string;
  format?: (v: number | null) => string;
  log?: boolean;
  /** Weight of the moving mean, 0 to 1. Default 0. */
  smoothing?: number;
  xName?: string;
  /** Vertical lines at steps; `color` is a custom property such as --bad. */
  marks?: readonly { step: number; color?: string }[];
}
/** Only in a browser. */
export interface Chart {
  /** The uPlot instance. */
  readonly plot: unknown;
  readonly element: unknown;
  zoom(from: number, to: number): void;
  showAll(): void;
  setData(x: Values, curves: readonly Curve[]): void;
  set(change: Partial<ChartOptions>): void;
  destroy(): void;
}

export function formatNumber(v: number | null): string;
export function formatTick(v: number): string;
export function formatBytes(v: number | null): string;
export function lowerBound(list: ArrayLike<number>, v: number): number;
export function decimate(x: Values, curves: readonly Values[], from: number, to: number, buckets: number): (number | null)[][];
export function smooth(values: Values, weight: number): Values;
export function draw(element: unknown, options: ChartOptions): Chart;
