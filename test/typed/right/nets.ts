/** Networks, losses and training that must compile; each is run, and its shapes are what their types say. */
import { nn as plain, type Tensor } from 'anneal';
import { arange, attention, embedding, losses, nn, rand, randint, randn, type TensorOf, typed, zeros } from 'anneal/typed';
import { has, type Programs } from './has.ts';

class Mlp extends nn.Module {
  first = new nn.Linear(8, 16);
  second = new nn.Linear(16, 3);
  forward<N extends number>(x: TensorOf<[N, 8]>): TensorOf<[N, 3]> {
    return this.second.forward(this.first.forward(x).relu());
  }
}

/** A block as GPT has it, of width 12 in 3 heads, for any batch and length. */
class Block extends nn.Module {
  ln = new nn.LayerNorm(12);
  qkv = [new nn.Linear(12, 12), new nn.Linear(12, 12), new nn.Linear(12, 12)] as const;
  out = new nn.Linear(12, 12);
  mlp = new nn.Sequential(new nn.LayerNorm(12), new nn.Linear(12, 48), new nn.GELU(), new nn.Linear(48, 12), new nn.Dropout(0));
  heads<B extends number, T extends number>(x: TensorOf<[B, T, 12]>): TensorOf<[B, 3, T, 4]> {
    return x.reshape([x.shape[0], x.shape[1], 3, 4]).permute([0, 2, 1, 3]);
  }
  forward<B extends number, T extends number>(x: TensorOf<[B, T, 12]>): TensorOf<[B, T, 12]> {
    const h = this.ln.forward(x);
    const [q, k, v] = this.qkv;
    const y = attention(this.heads(q.forward(h)), this.heads(k.forward(h)), this.heads(v.forward(h)), { causal: true });
    const z = x.add(this.out.forward(y.permute([0, 2, 1, 3]).reshape([x.shape[0], x.shape[1], 12])));
    return z.add(this.mlp.forward(z));
  }
}

class Gpt extends nn.Module {
  tokens = new nn.Embedding(20, 12);
  places = new nn.Embedding(8, 12);
  blocks = [new Block(), new Block()];
  norm = new nn.LayerNorm(12);
  head = new nn.Linear(12, 20);
  forward<B extends number, T extends number>(x: TensorOf<[B, T]>): TensorOf<[B, T, 20]> {
    let y = this.tokens.forward(x).add(this.places.forward(arange(x.shape[1])));
    for (const block of this.blocks) y = block.forward(y);
    return this.head.forward(this.norm.forward(y));
  }
}

export const nets: Programs = {
  'a layer'() {
    const layer = new nn.Linear(5, 3);
    has(layer.weight, [3, 5]);
    has(layer.forward(randn([2, 5])), [2, 3]);
    has(layer.forward(randn([5])), [3]);
    has(layer.forward(randn([2, 4, 5])), [2, 4, 3]);
    const known: plain.Linear = layer;
    if (!(known instanceof plain.Linear)) throw new Error('not the same class');
  },
  'an MLP over any batch'() {
    const model = new Mlp();
    has(model.forward(randn([4, 8])), [4, 3]);
    has(model.forward(typed(randn([7, 8]), [null, 8])), [null, 3]);
  },
  'a step of training'() {
    const model = new Mlp();
    const loss = losses.crossEntropy(model.forward(randn([4, 8])), randint([4], { high: 3, dtype: 'i32' })).mean();
    loss.backward();
    for (const p of model.parameters()) if (p.grad === null) throw new Error(`no gradient reached ${p.name}`);
  },
  'Sequential chains'() {
    const model = new nn.Sequential(
      new nn.Linear(6, 5),
      new nn.BatchNorm1d(5),
      new nn.ReLU(),
      new nn.Dropout(0.1),
      new nn.Linear(5, 4),
      new nn.Softmax(),
    );
    has(model.forward(randn([3, 6])), [3, 4]);
    has(new nn.Sequential(model, new nn.Linear(4, 2), new nn.Tanh()).forward(randn([3, 6])), [3, 2]);
    has(new nn.Sequential().forward(randn([3])), [3]);
  },
  "MNIST's CNN"() {
    const cnn = new nn.Sequential(
      new nn.Conv2d(1, 4, { kernelSize: 3 }),
      new nn.ReLU(),
      new nn.Conv2d(4, 8, { kernelSize: 3 }),
      new nn.ReLU(),
      new nn.MaxPool2d(2),
      new nn.Dropout(0.25),
      new nn.Flatten(),
      new nn.Linear(1152, 16),
      new nn.ReLU(),
      new nn.Linear(16, 10),
    );
    has(cnn.forward(rand([2, 1, 28, 28])), [2, 10]);
  },
  'convolutions and pools of every kind'() {
    const x = randn([2, 3, 11, 8]);
    has(new nn.Conv2d(3, 5, { kernelSize: 3, padding: 1 }).forward(x), [2, 5, 11, 8]);
    has(new nn.Conv2d(3, 5, { kernelSize: 3, stride: 2 }).forward(x), [2, 5, 5, 3]);
    has(
      new nn.Conv2d(3, 6, { kernelSize: [5, 2], stride: [3, 1], padding: [2, 0], dilation: [2, 1], groups: 3 }).forward(x),
      [2, 6, 3, 7],
    );
    has(new nn.MaxPool2d(3, { stride: 2, padding: 1 }).forward(x), [2, 3, 6, 4]);
    has(new nn.AvgPool2d([2, 4]).forward(x), [2, 3, 5, 2]);
    has(new nn.BatchNorm2d(3).forward(x), [2, 3, 11, 8]);
    has(new nn.GroupNorm(3, 3).forward(x), [2, 3, 11, 8]);
  },
  norms() {
    const x = randn([2, 5, 4]);
    has(new nn.LayerNorm(4).forward(x), [2, 5, 4]);
    has(new nn.LayerNorm([5, 4]).forward(x), [2, 5, 4]);
    has(new nn.RMSNorm(4).forward(x), [2, 5, 4]);
    has(new nn.BatchNorm1d(5).forward(x), [2, 5, 4]);
  },
  'a GPT over any batch and length'() {
    const model = new Gpt();
    has(model.forward(randint([2, 6], { high: 20, dtype: 'i32' })), [2, 6, 20]);
    has(new nn.TransformerBlock(12, 3, { dropout: 0 }).forward(randn([2, 6, 12])), [2, 6, 12]);
  },
  'embedding and attention'() {
    has(embedding(arange(4), randn([9, 5])), [4, 5]);
    has(attention(randn([2, 4, 3, 8]), randn([2, 2, 5, 8]), randn([2, 2, 5, 8])), [2, 4, 3, 8]);
  },
  losses() {
    const logits = randn([4, 7, 3]);
    has(losses.crossEntropy(logits, zeros([4, 7], { dtype: 'i32' })).mean(), []);
    has(losses.crossEntropy(logits, logits.softmax()).mean(), []);
    has(losses.crossEntropy(logits, zeros([4, 3], { dtype: 'i32' }), { axis: 1 }).mean(), []);
    has(losses.nll(logits.logSoftmax(), zeros([4, 7], { dtype: 'i32' })).mean(), []);
    has(
      losses
        .mse(logits, zeros([4, 7, 3]))
        .plus(losses.huber(logits, zeros([4, 7, 3])))
        .mean(),
      [],
    );
    has(losses.bceWithLogits(randn([4]), ones4()).mean(), []);
  },
  'a layer of your own in a Sequential'() {
    class Halve extends nn.Module {
      forward(x: TensorOf<[number, 8]>): TensorOf<[number, 4]> {
        return typed(x.narrow(1, 0, 4), [null, 4]);
      }
    }
    const model = new nn.Sequential(new nn.Linear(6, 8), new Halve(), new nn.Linear(4, 2));
    has(model.forward(randn([3, 6])), [null, 2]);
  },
  'layers without types of their own, and untyped functions'() {
    const describe = (module: plain.Module, x: Tensor): string => `${module.constructor.name} ${x.shape.join('x')}`;
    const pooled = new nn.AdaptiveAvgPool2d(2).forward(randn([1, 3, 8, 8]));
    has(new nn.Linear(12, 5).forward(typed(pooled, [1, 3, 2, 2]).flatten(1)), [1, 5]);
    if (describe(new nn.Linear(2, 3), zeros([2])) !== 'Linear 2') throw new Error('not the same objects');
  },
};

const ones4 = (): TensorOf<[4]> => rand([4]);
