import { checkpoint } from 'anneal';
import { arange, linear, nn, type TensorOf } from 'anneal/typed';

export interface GptOptions<V extends number> {
  vocabulary: V;
  /** Longest context in tokens. */
  block: number;
  layers: number;
  heads: number;
  dropout?: number;
  /** Keep only what enters each block; backward computes the rest again. */
  checkpoint?: boolean;
}

const width = 128;

/** A decoder of pre-norm blocks with learned positions; the head is the token embedding (Radford et al. 2019, as nanoGPT has it). */
export class Gpt<V extends number> extends nn.Module {
  wte: nn.Embedding<V, 128>;
  wpe: nn.Embedding<number, 128>;
  blocks: nn.TransformerBlock<128>[];
  lnF: nn.LayerNorm<128>;
  drop: nn.Dropout;
  readonly block: number;
  readonly checkpoint: boolean;

  constructor({ vocabulary, block, layers, heads, dropout = 0, checkpoint = false }: GptOptions<V>) {
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

  /** Tokens i32 to logits. */
  forward<B extends number, T extends number>(tokens: TensorOf<[B, T]>): TensorOf<[B, T, V]> {
    const positions = arange(tokens.shape[1]);
    let x = this.drop.forward(this.wte.forward(tokens).add(this.wpe.forward(positions)));
    for (const block of this.blocks)
      x = this.checkpoint ? (checkpoint((y) => block.forward(y), x) as typeof x) : block.forward(x);
    return linear(this.lnF.forward(x), this.wte.weight);
  }
}
