const ignore = () => {};

/** `promise`, or the signal's reason as soon as it aborts. */
async function orAbort<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  signal.throwIfAborted();
  let stop = ignore;
  const aborted = new Promise<never>((_, reject) => {
    const listen = () => reject(signal.reason);
    signal.addEventListener('abort', listen, { once: true });
    stop = () => signal.removeEventListener('abort', listen);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    stop();
  }
}

/**
 * The values that the thunks of `items` make, in order, with up to `depth` of them begun ahead of the one in use. Asking an async
 * generator several times at once is sound: it answers in turn. Leaving early, by `break` or by the signal, closes `items`.
 */
export async function* prefetched<T>(
  items: AsyncGenerator<() => Promise<T>>,
  depth: number,
  signal?: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  const queue: Promise<{ value: T } | undefined>[] = [];
  const fill = (to: number) => {
    while (queue.length < to) {
      const next = items.next().then(async (r) => (r.done ? undefined : { value: await r.value() }));
      next.catch(ignore); // thrown where it is awaited; never an unhandled rejection if the loop is left first
      queue.push(next);
    }
  };
  try {
    for (;;) {
      signal?.throwIfAborted();
      fill(1);
      const item = await orAbort(queue.shift() as (typeof queue)[number], signal);
      if (!item) return;
      fill(depth);
      yield item.value;
    }
  } finally {
    // Not awaited: a source that never answers must not hold up whoever leaves.
    items.return(undefined).catch(ignore);
  }
}
