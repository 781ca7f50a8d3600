/** What ranks tell each other that is not a tensor. */
import { deserialize, serialize } from 'node:v8';
import { fromHost } from '../tensor/create.ts';
import { device } from '../tensor/device.ts';
import type { ProcessGroup } from './process-group.ts';

/**
 * Every rank's value on every rank, in their order: numbers keep their bits, typed arrays and maps stay what they are. All ranks call it; device streams are not
 * waited for.
 * @throws CollectiveError where a rank does not come
 */
export async function exchange<T>(group: ProcessGroup, value: T): Promise<T[]> {
  const own = serialize(value);
  const lengths = await gathered(group, Int32Array.of(own.length));
  const longest = Math.max(...lengths);
  const padded = new Uint8Array(longest);
  padded.set(own);
  const all = await gathered(group, padded);
  return Array.from(lengths, (n, rank) => deserialize(all.subarray(rank * longest, rank * longest + n)) as T);
}

async function gathered<A extends Int32Array | Uint8Array>(group: ProcessGroup, own: A): Promise<A> {
  const x = fromHost(own, [own.length], own instanceof Int32Array ? 'i32' : 'u8', device('cpu'));
  const all = group.allGather(x);
  try {
    await all.done();
    return (await all.result.data()) as A;
  } finally {
    x.dispose();
    all.result.dispose();
  }
}
