/** Every mistake of hand.ts is noticed by the suite; and the judge does not raise alarm on good kernels. Generated ones: npm run mutants. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { withoutSimulator } from '../helpers/device.ts';
import { compiled, handMade } from './hand.ts';
import { judge, kernels } from './judge.ts';

describe.skipIf(withoutSimulator)('mutants of the CUDA kernels', { timeout: 600_000 }, () => {
  test.concurrent.each(handMade.map((h) => [`${h.file}: ${h.what}`, h] as const))('%s', async (_, h) => {
    const { caught, how } = await judge(await compiled(h));
    expect(caught, how).toBe(true);
  });

  test.concurrent.each([...new Map(handMade.map((h) => [`${h.family} ${h.tests}`, h])).values()])(
    'no alarm on good kernels: $family, $tests',
    async ({ family, tests }) => {
      const { caught, how } = await judge({ family, ptx: readFileSync(join(kernels, `${family}.ptx`), 'utf8'), tests });
      expect(caught, how).toBe(false);
      expect(how).toMatch(/^survived [1-9]/);
    },
  );
});
