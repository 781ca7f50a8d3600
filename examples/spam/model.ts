import { arange, gelu, linear, nn, type Tensor } from 'anneal';

/** Pre-norm, looking both ways, and never at padding. */
class Block extends nn.Module {
  ln1: nn.LayerNorm;
  attn: nn.MultiheadAttention;
  ln2: nn.LayerNorm;
  up: nn.Linear;
  down: nn.Linear;
  drop = new nn.Dropout(0.1);

  constructor(width: number, heads: number) {
    super();
    this.ln1 = new nn.LayerNorm(width);
    this.attn = new nn.MultiheadAttention(width, heads);
    this.ln2 = new nn.LayerNorm(width);
    this.up = new nn.Linear(width, 4 * width);
    this.down = new nn.Linear(4 * width, width);
  }

  forward(x: Tensor, keyPaddingMask: Tensor): Tensor {
    const a = x.add(this.drop.forward(this.attn.forward(this.ln1.forward(x), { keyPaddingMask })));
    return a.add(this.drop.forward(this.down.forward(gelu(this.up.forward(this.ln2.forward(a))))));
  }
}

/** A small BERT: from words i32 [B, T] and their padding bool [B, T] to vectors [B, T, width]; two heads stand on these. */
export class Reader extends nn.Module {
  words: nn.Embedding;
  places: nn.Embedding;
  blocks: Block[];
  norm: nn.LayerNorm;
  head: nn.Linear;

  constructor({
    vocabulary,
    longest,
    layers,
    heads,
    width,
  }: Record<'vocabulary' | 'longest' | 'layers' | 'heads' | 'width', number>) {
    super();
    this.words = new nn.Embedding(vocabulary, width);
    this.places = new nn.Embedding(longest, width);
    for (const { weight } of [this.words, this.places]) nn.assign(weight, nn.init.normal(weight.shape, 0.02));
    this.blocks = Array.from({ length: layers }, () => new Block(width, heads));
    this.norm = new nn.LayerNorm(width);
    this.head = new nn.Linear(width, 2);
  }

  read(x: Tensor, padding: Tensor): Tensor {
    let h = this.words.forward(x).add(this.places.forward(arange(x.shape[1] as number)));
    for (const block of this.blocks) h = block.forward(h, padding);
    return this.norm.forward(h);
  }

  /** Which word stands at each place: logits [B, T, vocabulary]. */
  fill(x: Tensor, padding: Tensor): Tensor {
    return linear(this.read(x, padding), this.words.weight);
  }

  /** Spam or not: logits [B, 2] of the mean of a mail's words. */
  forward(x: Tensor, padding: Tensor, lengths: Tensor): Tensor {
    const sum = this.read(x, padding).maskedFill(padding.unsqueeze(2), 0).sum({ axis: 1 });
    return this.head.forward(sum.div(lengths.to('f32').unsqueeze(1)));
  }
}
