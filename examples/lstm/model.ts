import { concat, narrow, nn, reshape, type Tensor } from 'anneal';
import { letters } from './words.ts';

/** Letters to a part of speech: an LSTM from each end; what both know behind their last letter decides. */
export class SpellingNet extends nn.Module {
  embedding = new nn.Embedding(letters + 1, 32);
  lstm = new nn.LSTM(32, 96, { bidirectional: true });
  drop = new nn.Dropout(0.2);
  head: nn.Linear;

  constructor(classes: number) {
    super();
    this.head = new nn.Linear(2 * 96, classes);
  }

  /** Letters i32 [B, T] and how many of them count, i32 [B], to logits [B, classes]. */
  forward(x: Tensor, lengths: Tensor): Tensor {
    const { h } = this.lstm.forward(this.embedding.forward(x), { lengths });
    const last = [0, 1].map((d) => reshape(narrow(h, 0, d, 1), [x.shape[0] as number, 96]));
    return this.head.forward(this.drop.forward(concat(last, { axis: 1 })));
  }
}
