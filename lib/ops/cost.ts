// What calls cost: multiply-adds of the ops that are worth counting, by their attributes.

/** Query and key pairs that may meet; `causal`: the last query sees all keys, each before it one less. */
function pairs(tq: number, tk: number, causal: boolean): number {
  if (!causal) return tq * tk;
  const stairs = Math.min(tq, tk);
  return (stairs * (stairs + 1)) / 2 + Math.max(0, tk - tq) * tq;
}

/**
 * Multiply-adds of a native call, 0 for what does none to speak of: products, convolutions and their gradients, attention (two products over
 * the pairs that may meet forward, five backward, one of which is the forward's again).
 */
export function macsOf(op: string, attrs: readonly number[]): number {
  if (op === 'matmul') {
    const [m, n, k, batch] = attrs as [number, number, number, number];
    return m * n * k * batch;
  }
  if (op.startsWith('conv2d')) {
    const [n, c, , , o, kh, kw, oh, ow] = attrs as [number, number, number, number, number, number, number, number, number];
    return (n * o * oh * ow * c * kh * kw) / (attrs[15] as number);
  }
  if (op === 'attention' || op === 'attention.grad') {
    const [batch, heads, , tq, tk, d] = attrs.slice(5) as [number, number, number, number, number, number];
    return batch * heads * pairs(tq, tk, attrs[12] === 1) * d * (op === 'attention' ? 2 : 5);
  }
  return 0;
}
