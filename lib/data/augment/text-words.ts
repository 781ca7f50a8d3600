// What the transforms of text share: words between their separators, and the field of a sample that holds the text.
import { checkText, DataError, describe } from '../../native/errors.ts';
import type { SampleFunction, SampleInfo } from '../options.ts';

/** Words at even places, what stands between them at odd ones; joined they are the text again. */
export const pieces = (text: string): string[] => text.split(/(\s+)/);

/** The places of the words in `pieces`. */
export const wordPlaces = (parts: readonly string[]): number[] =>
  parts.flatMap((part, i) => (i % 2 === 0 && part !== '' ? [i] : []));

/** A change of text as a loader's function: of a sample that is a string, or of its field `column` (default 'text'). */
export function onText(
  where: string,
  column: unknown,
  change: (text: string, info: SampleInfo) => string | Promise<string>,
): SampleFunction {
  const name = column === undefined ? 'text' : checkText(where, 'column', column);
  return async (sample: unknown, info: SampleInfo) => {
    if (typeof sample === 'string') return change(sample, info);
    const field: unknown = (Object(sample) as Record<string, unknown>)[name];
    if (typeof field !== 'string')
      throw new DataError(
        `${where}: sample ${info.id}: field "${name}" must be a string, got ${describe(field)}. Name another with { column }.`,
      );
    return { ...(sample as object), [name]: await change(field, info) };
  };
}
