import { ConfigError, checkFunction } from '../native/errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { ReLU } from './activation.ts';
import { isWatched } from './hooks.ts';
import { type Member, Module } from './module.ts';

/** A layer from one tensor to one tensor. */
export type Layer = Module & { forward(x: Tensor): Tensor };

/** A layer that can apply the ReLU behind it inside its own pass over memory. */
type Fusible = Layer & { forwardRelu(x: Tensor): Tensor };
const fusible = (layer: Layer): layer is Fusible => 'forwardRelu' in layer;

/** Layers applied in turn; their names are '0', '1', ... A ReLU behind a Linear or Conv2d happens inside that layer's product. */
export class Sequential extends Module {
  readonly layers: readonly Layer[];
  constructor(...layers: Layer[]) {
    super();
    layers.forEach((layer, i) => {
      if (!(layer instanceof Module))
        throw new ConfigError(`Sequential: argument ${i} is not a Module. Wrap a function in new Lambda(fn).`);
    });
    this.layers = layers;
  }
  override *entries(): Iterable<[string, Member]> {
    for (let i = 0; i < this.layers.length; i++) yield [String(i), this.layers[i] as Layer];
  }
  forward(x: Tensor): Tensor {
    let y = x;
    for (let i = 0; i < this.layers.length; i++) {
      const layer = this.layers[i] as Layer;
      const next = this.layers[i + 1];
      if (fusible(layer) && next instanceof ReLU && !isWatched(layer) && !isWatched(next)) {
        y = layer.forwardRelu(y);
        i++;
      } else {
        y = layer.forward(y);
      }
    }
    return y;
  }
}

/** A function of one tensor as a layer without state. */
export class Lambda extends Module {
  readonly fn: (x: Tensor) => Tensor;
  constructor(fn: (x: Tensor) => Tensor) {
    super();
    checkFunction('Lambda', 'the argument', fn, 'new Lambda((x) => x.mul(2))');
    this.fn = fn;
  }
  forward(x: Tensor): Tensor {
    return this.fn(x);
  }
}
