import { ConfigError, describe, NumericsError } from '../native/errors.ts';

export interface SamplingOptions {
  /** Divides the logits: below 1 bolder, above 1 more even; 0 takes the likeliest token. Default 1. */
  temperature?: number;
  /** Only the k likeliest tokens; of equal ones at the edge the first. Default: all. */
  topK?: number;
  /** Only the likeliest tokens whose probabilities together reach p (Holtzman et al., 2020), after temperature and topK. Default 1: all. */
  topP?: number;
}

export function checkSampling(where: string, { temperature = 1, topK, topP = 1 }: SamplingOptions): void {
  if (!(typeof temperature === 'number' && temperature >= 0 && temperature < Number.POSITIVE_INFINITY))
    throw new ConfigError(`${where}: temperature must be a number from 0 (the likeliest token) up, got ${describe(temperature)}`);
  if (topK !== undefined && !(Number.isSafeInteger(topK) && topK >= 1))
    throw new ConfigError(`${where}: topK must be a whole number from 1, got ${describe(topK)}`);
  if (!(typeof topP === 'number' && topP > 0 && topP <= 1))
    throw new ConfigError(`${where}: topP must be in (0, 1], got ${describe(topP)}`);
}

/** Places of the k largest, in rising order; of equal ones at the edge the first. */
function largest(logits: Float32Array, k: number): number[] {
  const edge = logits.slice().sort()[logits.length - k] as number;
  let equal = k;
  for (const x of logits) if (x > edge) equal--;
  const found: number[] = [];
  logits.forEach((x, i) => {
    if (x > edge || (x === edge && equal-- > 0)) found.push(i);
  });
  return found;
}

/** Of `places` with these weights the fewest whose sum reaches `share` of the whole, in rising order. */
function nucleus(places: readonly number[], weights: readonly number[], share: number): Set<number> {
  const whole = weights.reduce((sum, w) => sum + w, 0);
  // All that are lighter than this sum up to less than what may be left out: they need not be sorted.
  const least = ((1 - share) * whole) / places.length;
  const candidates = places.map((place, i) => [place, weights[i] as number] as const).filter(([, w]) => w >= least);
  candidates.sort(([a, u], [b, w]) => w - u || a - b);
  const chosen = new Set<number>();
  let sum = 0;
  for (const [place, w] of candidates) {
    chosen.add(place);
    sum += w;
    if (sum >= share * whole) break;
  }
  return chosen;
}

/** The token that `uniform` in [0, 1) draws from these logits. @throws NumericsError where they are NaN or infinite upwards, or all -Infinity */
export function sampleToken(logits: Float32Array, options: SamplingOptions, uniform: number): number {
  const { temperature = 1, topK = logits.length, topP = 1 } = options;
  let most = Number.NEGATIVE_INFINITY;
  let first = 0;
  logits.forEach((x, i) => {
    if (Number.isNaN(x) || x === Number.POSITIVE_INFINITY)
      throw new NumericsError(`generate: the model gave ${x} for token ${i}. Find where it comes from with detectAnomaly.`);
    if (x > most) [most, first] = [x, i];
  });
  if (most === Number.NEGATIVE_INFINITY)
    throw new NumericsError('generate: the model gave no token a chance: all its logits are -Infinity.');
  if (temperature === 0) return first;
  let places = topK < logits.length ? largest(logits, topK) : Array.from(logits, (_, i) => i);
  const weight = (place: number) => Math.exp(((logits[place] as number) - most) / temperature);
  if (topP < 1) {
    const chosen = nucleus(places, places.map(weight), topP);
    places = places.filter((place) => chosen.has(place));
  }
  const weights = places.map(weight);
  const drawn = uniform * weights.reduce((sum, w) => sum + w, 0);
  let below = 0;
  for (let i = 0; i < places.length; i++) {
    below += weights[i] as number;
    if (drawn < below) return places[i] as number;
  }
  return first; // rounding of the last sum
}
