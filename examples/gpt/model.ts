import { arange, checkpoint, linear, nn, type Tensor } from 'anneal';

export interface GptOptions {
  vocabulary: number;
  /** Longest context in tokens. */
  block: number;
  layers: number;
  heads: number;
  width: number;
  dropout?: number;
  /** Keep only what enters each block; backward computes the rest again. */
  checkpoint?: boolean;
}

/** A decoder of pre-norm blocks with learned positions; the head is the token embedding (Radford et al. 2019, as nanoGPT has it). */
export class Gpt extends nn.Module {
  wte: nn.Embedding;
  wpe: nn.Embedding;
  blocks: nn.TransformerBlock[];
  lnF: nn.LayerNorm;
  drop: nn.Dropout;
  readonly block: number;
  readonly checkpoint: boolean;

  constructor({ vocabulary, block, layers, heads, width, dropout = 0, checkpoint = false }: GptOptions) {
    super();
    this.checkpoint = checkpoint;
    this.block = block;
    this.wte = new nn.Embedding(vocabulary, width);
    this.wpe = new nn.Embedding(block, width);
    this.drop = new nn.Dropout(dropout);
    this.blocks = Array.from({ length: layers }, () => new nn.TransformerBlock(width, heads, { dropout }));
    this.lnF = new nn.LayerNorm(width);
    // GPT-2's start: small normal weights, the layers that write to the residual stream smaller still.
    for (const [name, p] of this.namedParameters()) {
      if (p.ndim < 2) continue;
      const last = name.endsWith('proj.weight') || name.endsWith('down.weight');
      nn.assign(p, nn.init.normal(p.shape, last ? 0.02 / Math.sqrt(2 * layers) : 0.02));
    }
    for (const [name, p] of this.namedParameters()) if (name.endsWith('bias')) nn.assign(p, nn.init.zeros(p.shape));
  }

  /** Tokens i32 [B, T] to logits [B, T, vocabulary]; with a cache, they follow those that it holds. */
  forward(tokens: Tensor, cache?: nn.KVCache): Tensor {
    const from = cache?.length ?? 0;
    const positions = arange(from, from + (tokens.shape[1] as number));
    let x = this.drop.forward(this.wte.forward(tokens).add(this.wpe.forward(positions)));
    for (const block of this.blocks)
      x = this.checkpoint && !cache ? checkpoint((x) => block.forward(x), x) : block.forward(x, { cache });
    return linear(this.lnF.forward(x), this.wte.weight);
  }
}
